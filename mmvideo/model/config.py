"""Settings of the model: size, fusion, positions, attention, precision."""

from __future__ import annotations

import dataclasses
from typing import Literal

SIZES: dict[str, tuple[int, int, int, int]] = {
    # name: depth, width, heads, feed-forward width
    "nano": (4, 128, 4, 512),
    "tiny": (12, 192, 3, 768),
    "S": (12, 384, 6, 1536),
    "B": (12, 768, 12, 3072),
    "L": (24, 1024, 16, 4096),
    "H": (32, 1280, 16, 5120),
    "g": (40, 1408, 16, 6144),
}
"""Named sizes, as the ViT family uses them (g: the 1.0 B variant of VideoMAE v2 and V-JEPA)."""


@dataclasses.dataclass(frozen=True)
class Fusion:
    """From which layer on which modalities see each other: a choice of spans for each layer.

    Attributes:
      scheme: `early` lets a clip see all of itself from the first layer on, `mid` from `layer` on,
        `late` never.
      layer: the first layer of `mid` in which video, sound and text see each other.
      media_layer: for `mid`, the first layer in which video and sound see each other, text still
        apart; None is `layer`. Between the two lie the features of video and sound together that
        a joint contrastive pair (video+audio with text) compares.
    """

    scheme: Literal["early", "mid", "late"] = "mid"
    layer: int = 3
    media_layer: int | None = None


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The light decoder of masked prediction: depth, width and heads."""

    depth: int = 1
    width: int = 96
    heads: int = 4


@dataclasses.dataclass(frozen=True)
class Model:
    """A multimodal transformer.

    Attributes:
      size: a name of `SIZES`; the four numbers below override it one by one.
      depth, width, heads, feed_forward: layers, `D`, `N`, `F`; None takes the size's.
      fusion: which modalities meet, and where.
      position: `rotary` (time in seconds, shared by the modalities, and place in the grid), `sincos`
        or `learned` tables for each modality and axis.
      attention: `auto` chooses by platform, `xla` is the reference, `chunked` needs linear memory.
      chunk: keys a block of the chunked attention.
      compute: dtype of activations; parameters are float32.
      remat: what is computed again in the backward pass: `none`, `dots` keeps products, `full` keeps
        a layer's input only.
      scan: whether layers are one scanned program (fast to compile) or unrolled.
      decoder: the decoder of masked prediction.
    """

    size: str = "nano"
    depth: int | None = None
    width: int | None = None
    heads: int | None = None
    feed_forward: int | None = None
    fusion: Fusion = Fusion()
    position: Literal["rotary", "sincos", "learned"] = "rotary"
    attention: Literal["auto", "xla", "chunked"] = "auto"
    chunk: int = 512
    compute: Literal["bfloat16", "float32"] = "bfloat16"
    remat: Literal["none", "dots", "full"] = "none"
    scan: bool = True
    decoder: Decoder = Decoder()
