"""Settings of the model: size, fusion, positions, attention, precision."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

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
"""Named sizes, as in the ViT family (g: the 1.0 B variant of VideoMAE v2 and V-JEPA)."""


@dataclasses.dataclass(frozen=True)
class Fusion:
    """The layers in which modalities attend to each other: a choice of spans per layer.

    Attributes:
      scheme: fusion scheme. `early`: a clip attends to all of itself from the first layer on. `mid`: from `layer` on.
        `late`: never. `bottleneck`: from `layer` on every modality has a copy of some bottleneck tokens, and the copies
        are averaged after each layer (MBT, Nagrani et al. 2021, section 3.2); the next layer reads the average, so a
        bottleneck stage of one layer fuses nothing. `cross`: from `layer` on the queries of a modality attend to the
        whole clip, with keys and values computed by the weights of the query's modality (MBT, section 3.2.2); equal to
        `mid` where the modalities share attention and norms.
      layer: the first layer in which video, audio and text attend to each other.
      media_layer: for `mid`, the first layer in which video and audio attend to each other but not to text; None:
        `layer`. The layers between the two give the joint features of video and audio for a contrastive pair
        (video+audio with text).
      bottlenecks: bottleneck tokens of a clip.
      modalities: the modalities that are fused; None: all. The rest stay unfused.
      alone: for `mid`, a second pass in which each modality alone goes through the fused layers, with their weights but
        with norms of its own; unfused features are read after this pass (CAV-MAE, Gong et al. 2023, section 3.3).
      text: attention of text tokens: `bidirectional` within the text, or `causal`. Causal tokens attend to earlier
        tokens only, and video and audio never attend to text. Causal text can be generated (CoCa, Yu et al. 2022,
        section 3.2); it is causal below the fusion layer too.
    """

    scheme: Literal["early", "mid", "late", "bottleneck", "cross"] = "mid"
    layer: int = 3
    media_layer: int | None = None
    bottlenecks: int = 4
    modalities: tuple[str, ...] | None = None
    alone: bool = False
    text: Literal["bidirectional", "causal"] = "bidirectional"


Shared = Literal["everything", "norms", "feed_forward", "nothing"]

Tensor = Literal["query_key_value", "attended", "attention_out", "inner", "feed_forward_out"]
"""The tensors of a layer that may be saved for its gradient; `layers/remat.py` describes them."""

KEPT: dict[str, tuple[Tensor, ...]] = {
    "products": get_args(Tensor),
    "dots": ("query_key_value", "attention_out", "inner", "feed_forward_out"),
    "attention": ("query_key_value", "attended", "attention_out"),
    "full": (),
}
"""Tensors of a layer saved by each value of `Model.remat` except `none`, which saves everything."""


@dataclasses.dataclass(frozen=True)
class Sharing:
    """The weights of a layer that each modality owns.

    Attributes:
      apart: sharing in the layers before fusion. `everything`: all weights are shared (VATT's modality-agnostic
        encoder). `norms`: all but the norms are shared (CAV-MAE's joint layer). `feed_forward`: all but the
        feed-forward and its norm are shared (multiway experts: VLMo, Bao et al. 2022, section 3.2). `nothing`: no
        weight is shared (MBT's unshared, VATT's modality-specific encoders).
      fused: sharing in the layers in which some modalities are fused; values as for `apart`.
    """

    apart: Shared = "everything"
    fused: Shared = "everything"


@dataclasses.dataclass(frozen=True)
class Block:
    """Architecture of a layer; decoder layers have the same, without stochastic depth.

    Attributes:
      norm: `layer` (Ba et al. 2016), or `rms`, without mean subtraction and bias (Zhang and Sennrich 2019).
      epsilon: constant added to the variance.
      order: `pre` norms the input of attention and feed-forward; `post` norms the sum after each (Vaswani et al. 2017),
        so that a stage needs no norm at its end.
      qk_norm: norm of queries and keys per head, with a scale and no bias (ViT-22B, Dehghani et al. 2023, section 2).
      activation: exact GELU, its approximations `gelu_tanh` and `gelu_quick`, or `swiglu`, whose feed-forward has a
        third matrix (Shazeer 2020).
      biases: linear maps with a bias: `all`, `none`, or `qv`, all but the keys (BEiT, VideoMAE, Whisper; without a norm
        of the keys their bias has no effect).
      layer_scale: initial value of the learned factor per channel of a branch's output; None: no factor (CaiT, Touvron
        et al. 2021, eq. 4).
      drop_path: share of the clips that skip a branch of the last layer in training; it grows linearly from 0 in the
        first layer (stochastic depth, Huang et al. 2016, section 3).
      drop_path_rescale: scaling of the branches that are not skipped by one over the share kept, which preserves the
        expectation (timm); scenic does not scale.
      soft_cap: bound `c` of the attention scores, `c tanh(score / c)`; None: no bound.
      quantized: `fp8` rounds both factors of products with weights to 8-bit floats, in the backward pass too; None:
        products are in the dtype `compute`. Attention, embeddings and heads are not quantized.
    """

    norm: Literal["layer", "rms"] = "layer"
    epsilon: float = 1e-6
    order: Literal["pre", "post"] = "pre"
    qk_norm: bool = False
    activation: Literal["gelu", "gelu_tanh", "gelu_quick", "swiglu"] = "gelu"
    biases: Literal["all", "none", "qv"] = "all"
    layer_scale: float | None = None
    drop_path: float = 0.0
    drop_path_rescale: bool = True
    soft_cap: float | None = None
    quantized: Literal["fp8"] | None = None

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"model.block.epsilon {self.epsilon} must be above 0")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"model.block.drop_path {self.drop_path} must be in [0, 1)")
        if self.soft_cap is not None and not self.soft_cap > 0:
            raise ValueError(f"model.block.soft_cap {self.soft_cap} must be above 0, or None")


@dataclasses.dataclass(frozen=True)
class AttentionPooling:
    """Architecture of the feed-forward of pooling `map`.

    Attributes:
      activation: exact GELU, or an approximation as in `Block`; SigLIP uses `gelu_tanh`.
      feed_forward: inner width; None: four times the model's width.
      epsilon: constant added to the variance in its norm.
    """

    activation: Literal["gelu", "gelu_tanh", "gelu_quick"] = "gelu"
    feed_forward: int | None = None
    epsilon: float = 1e-6

    def __post_init__(self) -> None:
        if self.feed_forward is not None and self.feed_forward < 1:
            raise ValueError(f"model.attention_pooling.feed_forward {self.feed_forward} must be 1 or more, or None")
        if not self.epsilon > 0:
            raise ValueError(f"model.attention_pooling.epsilon {self.epsilon} must be above 0")


@dataclasses.dataclass(frozen=True)
class Decoder:
    """The light decoder of masked prediction.

    Attributes:
      depth, width, heads: as of the backbone; the feed-forward is four times the width.
      sees: tokens that a decoder token attends to: those of its own `modality` in its clip, so that information between
        modalities must pass through the backbone, or those of its whole `clip`.
      class_tokens: whether the backbone's class tokens enter the decoder too, without positions, next to the tokens of
        their modality (MAE, AudioMAE).
    """

    depth: int = 1
    width: int = 96
    heads: int = 4
    sees: Literal["modality", "clip"] = "modality"
    class_tokens: bool = False


@dataclasses.dataclass(frozen=True)
class VideoEncoder:
    """A factorised encoder of video: space first, then time in the backbone (ViViT, Arnab et al. 2021, section 3.3).

    Attributes:
      depth: layers in which a token attends to its own tubelet step only; their architecture is that of the backbone.
      pooling: pooling of the tokens of a step to the one token that enters the backbone: their `mean`, or a `class`
        token.
    """

    depth: int = 12
    pooling: Literal["mean", "class"] = "class"


@dataclasses.dataclass(frozen=True)
class Model:
    """A multimodal transformer.

    Attributes:
      size: a name of `SIZES`; depth, width, heads and feed_forward override it one by one.
      depth, width, heads, feed_forward: number of layers, `D`, `N`, `F`; None: that of `size`.
      fusion: fusion of the modalities: scheme and layers.
      sharing: weights that the modalities share.
      depths: number of layers below the fusion layer by modality, for modalities that share `nothing` there; the rest
        have `fusion.layer`.
      block: architecture of a layer.
      class_tokens: class tokens per modality of a clip; pooling `class` reads them.
      registers: register tokens per modality of a clip, which nothing reads (Darcet et al. 2024).
      position: position scheme. `rotary` and `sincos` use the time in seconds, shared by the modalities, and the cell
        in the grid; `rotary_3d` (V-JEPA 2) rotates by cells; `sincos_1d` (VideoMAE), `sincos_2d` (MAE),
        `sincos_2d_time_first` (CAV-MAE), `sincos_2d_turned` (AudioMAE) and `sincos_3d` (V-JEPA) are fixed and count
        cells; `learned` has a table per axis and modality (VATT), `learned_1d` one table over the flat grid of each
        modality (ViT, AST, MBT); `none`.
      attention: attention backend. `auto` chooses by platform; `xla` is the reference; `chunked` needs linear memory;
        `cudnn` and `tokamax` are for NVIDIA GPUs, `splash` for TPUs.
      chunk: keys per block of chunked attention.
      compute: dtype of activations; parameters are float32.
      remat: rematerialization, from `none` to `full`, which saves only the input of a layer; `products`, `dots` and
        `attention` save the tensors of their names (table in `model/layers/remat.py`).
      remat_keep: tensors of a layer that are saved in addition.
      remat_offload: tensors of a layer that are saved in host memory instead of device memory.
      scan: layers as one scanned program, which is fast to compile, or unrolled, which is faster to run on a GPU;
        `auto` chooses by platform and depth (`unrolled_layers`).
      audio_stem: map from spectrogram to tokens: one product per patch (`patches`), or two convolutions over time for
        patches of two rows with all mel bins (`convolution`, Whisper); hidden patches are zero to their neighbours.
      embedding_norm: modalities whose tokens, with their positions and class tokens, are normed before the first layer,
        each with weights of its own (CLIP's images, BERT).
      final_norm: norm at the end of each stage. Without it a head's own norm is the only one between the last layer and
        the output (fine-tuning of VideoMAE and AudioMAE).
      decoder: the decoder of masked prediction.
      attention_pooling: attention pooling of heads with a learned query.
      video_encoder: layers within each tubelet step of video, of which the backbone gets one token; None: the backbone
        gets every token of video.
    """

    size: str = "nano"
    depth: int | None = None
    width: int | None = None
    heads: int | None = None
    feed_forward: int | None = None
    fusion: Fusion = Fusion()
    sharing: Sharing = Sharing()
    depths: dict[str, int] | None = dataclasses.field(default=None, hash=False)
    block: Block = Block()
    class_tokens: int = 0
    registers: int = 0
    position: Literal[
        "rotary",
        "rotary_3d",
        "sincos",
        "sincos_1d",
        "sincos_2d",
        "sincos_2d_time_first",
        "sincos_2d_turned",
        "sincos_3d",
        "learned",
        "learned_1d",
        "none",
    ] = "rotary"
    attention: Literal["auto", "xla", "chunked", "cudnn", "tokamax", "splash"] = "auto"
    chunk: int = 512
    compute: Literal["bfloat16", "float32"] = "bfloat16"
    remat: Literal["none", "products", "dots", "attention", "full"] = "none"
    remat_keep: tuple[Tensor, ...] = ()
    remat_offload: tuple[Tensor, ...] = ()
    scan: bool | Literal["auto"] = "auto"
    audio_stem: Literal["patches", "convolution"] = "patches"
    embedding_norm: tuple[str, ...] = ()
    final_norm: bool = True
    decoder: Decoder = Decoder()
    attention_pooling: AttentionPooling = AttentionPooling()
    video_encoder: VideoEncoder | None = None
    kind: Literal["transformer"] = "transformer"


@dataclasses.dataclass(frozen=True)
class ModelDims:
    """The dimensions of a model: layers, `D`, `N` and `F`."""

    depth: int
    width: int
    heads: int
    feed_forward: int

    @property
    def head(self) -> int:
        """Width of a head, `H`."""
        return self.width // self.heads


def model_dims(model: Model) -> ModelDims:
    """Return the dimensions of the named size with the overrides of the config.

    Raises:
      ValueError: an unknown size, a dimension below 1, a width that the heads don't divide, heads too narrow for the
        positions, or tensors to save that are unknown or contradict each other.
    """
    if model.size not in SIZES:
        raise ValueError(f"model.size {model.size!r} is not a size: choose one of {', '.join(SIZES)}")
    # Example: size S with depth 6 is (6, 384, 6, 1536).
    own = (model.depth, model.width, model.heads, model.feed_forward)
    dims = ModelDims(*(named if given is None else given for given, named in zip(own, SIZES[model.size], strict=True)))
    check_dims("model", dims, model.position)
    _check_extras(model)
    _check_remat(model)
    return dims


UNROLLED = 24
"""The most layers that `model.scan auto` unrolls on a GPU."""


def unrolled_layers(model: Model, platform: str, count: int) -> int:
    """Return the number of unrolled layers among `count` in a row: the last ones; those before are one scanned program.

    A scan copies the tensors that each layer saves for its gradient into stacks and out of them again: a fifth of a
    step on an H100 (`experiments/benchmarks/hlo.md`). Groups of layers within a scan need the same stacks. Unrolled
    layers need none, but each of them adds to the compile time.

    Args:
      model: the settings. `scan="auto"` unrolls on GPUs only: all layers of a model of up to `UNROLLED` layers, and the
        same share of every stage of a deeper one.
      platform: `cpu`, `gpu` or `tpu`.
      count: layers of a stage, or of a part of it.

    Example: of 40 layers, 26 of which are apart, the last 15 of these are unrolled and the last 8 of the 14 fused ones.
    """
    if model.scan != "auto":
        return 0 if model.scan else count
    if platform != "gpu":
        return 0
    depth = model_dims(model).depth
    return count * min(UNROLLED, depth) // depth


def dense_reference(model: Model) -> Model:
    """Return the config of the same model with dense attention and without rematerialization, for counting FLOPs."""
    block = dataclasses.replace(model.block, quantized=None)
    return dataclasses.replace(model, block=block, attention="xla", remat="none", remat_keep=(), remat_offload=())


def _check_extras(model: Model) -> None:
    for name, number in (("class_tokens", model.class_tokens), ("registers", model.registers)):
        if number < 0:
            raise ValueError(f"model.{name} is {number}: it must be 0 or more")
    for name in model.embedding_norm:
        if name not in ("video", "audio", "text"):
            raise ValueError(f"model.embedding_norm has {name!r}: name some of video, audio and text")
    for name, number in (model.depths or {}).items():
        if model.sharing.apart != "nothing":
            raise ValueError("model.depths needs model.sharing.apart nothing: shared layers can't differ in number")
        if name not in ("video", "audio", "text") or number < 1:
            raise ValueError(f"model.depths has {name!r}: {number}; give 1 or more layers for video, audio or text")


def _check_remat(model: Model) -> None:
    if model.remat != "none" and model.remat not in KEPT:
        raise ValueError(f"model.remat {model.remat!r} is unknown: choose one of none, {', '.join(KEPT)}")
    for field in ("remat_keep", "remat_offload"):
        for name in getattr(model, field):
            if name not in get_args(Tensor):
                known = ", ".join(get_args(Tensor))
                raise ValueError(f"model.{field} has {name!r}, which is no tensor of a layer: choose from {known}")
        if getattr(model, field) and model.remat == "none":
            raise ValueError(f"model.{field} names tensors, but model.remat none saves everything: set it to full")
    for name in model.remat_keep:
        if name in model.remat_offload:
            raise ValueError(f"model.remat_keep and model.remat_offload both have {name!r}: name it in one of them")


def decoder_dims(model: Model) -> ModelDims:
    """Return the dimensions of the decoder of masked prediction; raises as `model_dims` does."""
    decoder = model.decoder
    dims = ModelDims(decoder.depth, decoder.width, decoder.heads, 4 * decoder.width)
    check_dims("model.decoder", dims, model.position)
    return dims


def check_dims(where: str, dims: ModelDims, position: str) -> None:
    """Raise ValueError for dimensions that no transformer can have, naming the field below `where`."""
    for name, number in dataclasses.asdict(dims).items():
        if number < 1:
            raise ValueError(f"{where}.{name} is {number}: it must be 1 or more")
    if dims.width % dims.heads:
        raise ValueError(f"{where}.width {dims.width} is not a multiple of {where}.heads {dims.heads}")
    if position.startswith("rotary") and (dims.head % 2 or dims.head < 6):
        raise ValueError(
            f"{where}: rotary positions need heads of an even width of 6 or more (time, y and x take a pair each), "
            f"got {dims.width}/{dims.heads} = {dims.head}"
        )
    if position == "sincos" and dims.width < 6:
        raise ValueError(f"{where}.width {dims.width}: sin-cos positions need a width of 6 or more")
    multiple = 4 if position.startswith("sincos_2d") else 2
    if position.startswith("sincos") and dims.width % multiple:
        raise ValueError(f"{where}.width {dims.width}: {position} positions need a multiple of {multiple}")
