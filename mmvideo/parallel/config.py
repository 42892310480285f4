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
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
