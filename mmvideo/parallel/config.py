"""Settings of the mesh."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Mesh:
    """Devices along each axis of the mesh; one axis may be -1, which takes the remaining devices.

    Attributes:
      data: replicas of the model, each with different rows.
      fsdp: shards of the parameters, each also with different rows.
      tensor: shards of attention heads and of the feed-forward.
      context: shards of long rows by length; the queries of each shard attend to the keys of the whole row.
        `input.packing.tokens` should be a multiple: other lengths stay whole. Rows that the model builds itself (with
        class or bottleneck tokens, or of one modality) are padded to a multiple.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    context: int = 1
