"""Settings of the mesh."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis of the mesh; one axis may be -1 and takes what is left.

    Attributes:
      data: copies of the model that see different rows.
      fsdp: parts into which parameters are cut that also see different rows.
      tensor: parts into which heads and feed-forward are cut.
      context: parts into which rows are cut by their length, for long ones; each part's queries meet the keys of the
        whole row. Let `input.packing.tokens` be a multiple: a length that it does not divide stays whole. Rows that
        the model arranges itself (with class or bottleneck tokens, or of one modality) are made a multiple.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1
