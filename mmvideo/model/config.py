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
      text: whether a token of text sees its whole text, or is `causal`: it sees what stands before
        it, and video and sound never see text. A causal text continues what it has seen (CoCa, Yu
        et al. 2022, section 3.2), below the fusion layer too.
    """

    scheme: Literal["early", "mid", "late"] = "mid"
    layer: int = 3
    media_layer: int | None = None
    text: Literal["bidirectional", "causal"] = "bidirectional"


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The light decoder of masked prediction.

    Attributes:
      depth, width, heads: as of the trunk; the feed-forward is four times the width.
      sees: what a token of the decoder attends to: its own `modality` in its clip, so that what
        one modality tells of another has to pass through the trunk, or its whole `clip`.
    """

    depth: int = 1
    width: int = 96
    heads: int = 4
    sees: Literal["modality", "clip"] = "modality"


@dataclasses.dataclass(frozen=True)
class Model:
    """A multimodal transformer.

    Attributes:
      size: a name of `SIZES`; the four numbers below override it one by one.
      depth, width, heads, feed_forward: layers, `D`, `N`, `F`; None takes the size's.
      fusion: which modalities meet, and where.
      position: `rotary` and `sincos` know the time in seconds, shared by the modalities, and the place in
        the grid; `sincos_1d` (VideoMAE), `sincos_2d` (MAE, AudioMAE) and `sincos_3d` (V-JEPA) are fixed and
        count cells; `learned` has a table for each axis of each modality (VATT), `learned_1d` one over
        the flat grid of each (ViT, AST, MBT); `none`.
      attention: `auto` chooses by platform; `xla` is the reference, `chunked` needs linear memory, `cudnn` and
        `tokamax` are for NVIDIA GPUs, `splash` for TPUs.
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
    position: Literal["rotary", "sincos", "sincos_1d", "sincos_2d", "sincos_3d", "learned", "learned_1d", "none"] = (
        "rotary"
    )
    attention: Literal["auto", "xla", "chunked", "cudnn", "tokamax", "splash"] = "auto"
    chunk: int = 512
    compute: Literal["bfloat16", "float32"] = "bfloat16"
    remat: Literal["none", "dots", "full"] = "none"
    scan: bool = True
    decoder: Decoder = Decoder()
    kind: Literal["transformer"] = "transformer"


@dataclasses.dataclass(frozen=True)
class Dimensions:
    """The numbers that a model is built with: layers, `D`, `N` and `F`."""

    depth: int
    width: int
    heads: int
    feed_forward: int

    @property
    def head(self) -> int:
        """Width of a head, `H`."""
        return self.width // self.heads


def dimensions(model: Model) -> Dimensions:
    """The size by name with what the config overrides.

    Raises:
      ValueError: an unknown size, a number below 1, a width that the heads don't divide, or heads
        too narrow for the positions.
    """
    if model.size not in SIZES:
        raise ValueError(f"model.size {model.size!r} is not a size: choose one of {', '.join(SIZES)}")
    own = (model.depth, model.width, model.heads, model.feed_forward)
    numbers = Dimensions(
        *(named if given is None else given for given, named in zip(own, SIZES[model.size], strict=True))
    )
    check_dimensions("model", numbers, model.position)
    return numbers


def decoder_dimensions(model: Model) -> Dimensions:
    """The numbers of the decoder of masked prediction; raises as `dimensions` does."""
    decoder = model.decoder
    numbers = Dimensions(decoder.depth, decoder.width, decoder.heads, 4 * decoder.width)
    check_dimensions("model.decoder", numbers, model.position)
    return numbers


def check_dimensions(where: str, numbers: Dimensions, position: str) -> None:
    """Raises ValueError, naming the field below `where`, for numbers that no transformer can have."""
    for name, number in dataclasses.asdict(numbers).items():
        if number < 1:
            raise ValueError(f"{where}.{name} is {number}: it must be 1 or more")
    if numbers.width % numbers.heads:
        raise ValueError(f"{where}.width {numbers.width} is not a multiple of {where}.heads {numbers.heads}")
    if position == "rotary" and (numbers.head % 2 or numbers.head < 6):
        raise ValueError(
            f"{where}: rotary positions need heads of an even width of 6 or more (time, y and x take a pair each), "
            f"got {numbers.width}/{numbers.heads} = {numbers.head}"
        )
    if position == "sincos" and numbers.width < 6:
        raise ValueError(f"{where}.width {numbers.width}: sin-cos positions need a width of 6 or more")
    multiple = 4 if position == "sincos_2d" else 2
    if position.startswith("sincos") and numbers.width % multiple:
        raise ValueError(f"{where}.width {numbers.width}: {position} positions need a multiple of {multiple}")
