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
"""Named sizes, as the ViT family uses them (g: the 1.0 B variant of VideoMAE v2 and V-JEPA)."""


@dataclasses.dataclass(frozen=True)
class Fusion:
    """From which layer on modalities see each other: a choice of spans for each layer.

    Attributes:
      scheme: `early` lets a clip see all of itself from the first layer on, `mid` from `layer` on,
        `late` never. From `layer` on, `bottleneck` gives every modality its copy of some tokens, and
        averages the copies after each layer (MBT, Nagrani et al. 2021, section 3.2): what they gather
        is read in the layer behind, so that a bottleneck of one layer passes nothing on. `cross` lets
        a modality ask its whole clip, whose keys and values its own weights make (their section
        3.2.2); where the modalities share attention and norms, that is what `mid` does.
      layer: the first layer in which video, sound and text meet.
      media_layer: for `mid`, the first layer in which video and sound see each other, text still
        apart; None is `layer`. Between the two lie the features of video and sound together that
        a joint contrastive pair (video+audio with text) compares.
      bottlenecks: bottleneck tokens of a clip.
      modalities: which of them meet; None: all. The others stay apart.
      alone: whether, for `mid`, each modality also passes the fused layers by itself, with their weights but norms of
        its own; what is compared or pooled apart is read behind this pass (CAV-MAE, Gong et al. 2023, section 3.3).
      text: whether a token of text sees its whole text, or is `causal`: it sees what stands before
        it, and video and sound never see text. A causal text continues what it has seen (CoCa, Yu
        et al. 2022, section 3.2), below the fusion layer too.
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
"""The tensors of a layer that may be kept for its gradient; `remat` says what they are."""

KEPT: dict[str, tuple[Tensor, ...]] = {
    "products": get_args(Tensor),
    "dots": ("query_key_value", "attention_out", "inner", "feed_forward_out"),
    "attention": ("query_key_value", "attended", "attention_out"),
    "full": (),
}
"""What is kept of a layer by each step of `Model.remat` but `none`, which keeps everything."""


@dataclasses.dataclass(frozen=True)
class Sharing:
    """Which weights of a layer the modalities have for themselves.

    Attributes:
      apart: in the layers in which all modalities are apart: they share `everything` (VATT's
        modality-agnostic encoder), or all but their own `norms` (CAV-MAE's joint layer), or all but
        their own `feed_forward` and its norm (multiway experts: VLMo, Bao et al. 2022, section 3.2), or
        `nothing` (MBT's unshared, VATT's modality-specific encoders).
      fused: the same in the layers in which some have met.
    """

    apart: Shared = "everything"
    fused: Shared = "everything"


@dataclasses.dataclass(frozen=True)
class Block:
    """What a layer is made of. The decoder's layers are made alike, but for stochastic depth.

    Attributes:
      norm: `layer` (Ba et al. 2016), or `rms`, which takes out no mean and has no bias (Zhang and
        Sennrich 2019).
      epsilon: added to the variance.
      order: `pre` norms what enters attention and feed-forward, `post` the sum behind them (Vaswani et
        al. 2017), so that a stage needs no norm at its end.
      qk_norm: whether queries and keys are normed, head by head, with a scale and no bias (ViT-22B,
        Dehghani et al. 2023, section 2).
      activation: exact GELU, its `gelu_tanh` and `gelu_quick` approximations, or `swiglu`, which has a
        third matrix of the feed-forward (Shazeer 2020).
      biases: of the linear maps: all, none, or `qv`, all but that of the keys (BEiT, VideoMAE,
        Whisper; without a norm of the keys it would change nothing).
      layer_scale: where the learned factor of each number that a branch adds starts; None: there is
        none (CaiT, Touvron et al. 2021, eq. 4).
      drop_path: share of the clips that skip a branch of the last layer in training; it grows
        linearly from 0 in the first layer (stochastic depth, Huang et al. 2016, section 3).
      drop_path_rescale: whether the branches that are not skipped grow by one over the share kept, so that their
        expectation stays (timm); scenic's don't.
      soft_cap: bound `c` of the scores of attention, `c tanh(score / c)`; None: there is none.
      quantized: `fp8` rounds both factors of the products with weights to floats of 8 bits, in the backward pass too;
        None: they are of the dtype `compute`. Attention, embeddings and heads are not touched.
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
    """What the feed-forward of pooling `map` is made of.

    Attributes:
      activation: exact GELU, or its approximations as of `Block`; SigLIP's is `gelu_tanh`.
      feed_forward: its inner width; None is four times the model's.
      epsilon: added to the variance in the norm before it.
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
      depth, width, heads: as of the trunk; the feed-forward is four times the width.
      sees: what a token of the decoder attends to: its own `modality` in its clip, so that what
        one modality tells of another has to pass through the trunk, or its whole `clip`.
      class_tokens: whether the trunk's class tokens go into the decoder too, without positions, where what it predicts
        of their modality attends to them (MAE, AudioMAE).
    """

    depth: int = 1
    width: int = 96
    heads: int = 4
    sees: Literal["modality", "clip"] = "modality"
    class_tokens: bool = False


@dataclasses.dataclass(frozen=True)
class VideoEncoder:
    """A factorised encoder of video: space first, then time in the trunk (ViViT, Arnab et al. 2021, section 3.3).

    Attributes:
      depth: layers in which a token sees its own tubelet step only; they are made as the trunk's.
      pooling: what becomes of a step's tokens: their `mean`, or a `class` token among them; one token enters
        the trunk.
    """

    depth: int = 12
    pooling: Literal["mean", "class"] = "class"


@dataclasses.dataclass(frozen=True)
class Model:
    """A multimodal transformer.

    Attributes:
      size: a name of `SIZES`; the four numbers below override it one by one.
      depth, width, heads, feed_forward: layers, `D`, `N`, `F`; None takes the size's.
      fusion: which modalities meet, and where.
      sharing: which weights the modalities have for themselves.
      depths: own number of layers below the fusion layer for some modalities, where they share
        `nothing` there; the others have `fusion.layer`.
      block: what a layer is made of.
      class_tokens: class tokens for each modality of a clip, which pooling `class` reads.
      registers: tokens for each modality of a clip that nothing reads (Darcet et al. 2024).
      position: `rotary` and `sincos` know the time in seconds, shared by the modalities, and the place in
        the grid; `rotary_3d` (V-JEPA 2) turns by cells; `sincos_1d` (VideoMAE), `sincos_2d` (MAE),
        `sincos_2d_time_first` (CAV-MAE), `sincos_2d_turned` (AudioMAE) and `sincos_3d` (V-JEPA) are fixed and
        count cells; `learned` has a table for each axis of each modality (VATT), `learned_1d` one over the flat
        grid of each (ViT, AST, MBT); `none`.
      attention: `auto` chooses by platform; `xla` is the reference, `chunked` needs linear memory, `cudnn` and
        `tokamax` are for NVIDIA GPUs, `splash` for TPUs.
      chunk: keys a block of the chunked attention.
      compute: dtype of activations; parameters are float32.
      remat: what is computed again in the backward pass, from `none` to `full`, which keeps a layer's input
        only; `products`, `dots` and `attention` keep what their names say (the table in `model/layers/remat.py`).
      remat_keep: tensors of a layer that are kept beside those.
      remat_offload: tensors that are kept in the host's memory instead of the device's.
      scan: whether layers are one scanned program, which is fast to compile, or unrolled, which on a GPU is faster to
        run; `auto` chooses by platform and depth (`unrolled_layers`).
      audio_stem: how a spectrogram becomes tokens: one product a patch (`patches`), or two convolutions over time
        for patches of two rows with all mel bins (`convolution`, Whisper); what is hidden is zero to its neighbours.
      embedding_norm: modalities whose tokens, with their positions and their class tokens, are normed before the first
        layer, each with weights of its own (CLIP's pictures, BERT).
      final_norm: whether what each stage ends with is normed. Where it is not, a head's own norm is the only one
        between the last layer and the answer (VideoMAE and AudioMAE fine-tune so).
      decoder: the decoder of masked prediction.
      attention_pooling: what heads are made of that pool by a learned query.
      video_encoder: layers for each tubelet step of video by itself, of which the trunk then sees one token;
        None: the trunk sees every token of video.
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
    """The numbers that a model is built with: layers, `D`, `N` and `F`."""

    depth: int
    width: int
    heads: int
    feed_forward: int

    @property
    def head(self) -> int:
        """Width of a head, `H`."""
        return self.width // self.heads


def model_dims(model: Model) -> ModelDims:
    """The size by name with what the config overrides.

    Raises:
      ValueError: an unknown size, a number below 1, a width that the heads don't divide, heads too narrow for the
        positions, or tensors to keep that are none or contradict each other.
    """
    if model.size not in SIZES:
        raise ValueError(f"model.size {model.size!r} is not a size: choose one of {', '.join(SIZES)}")
    own = (model.depth, model.width, model.heads, model.feed_forward)
    dims = ModelDims(*(named if given is None else given for given, named in zip(own, SIZES[model.size], strict=True)))
    check_dims("model", dims, model.position)
    _check_extras(model)
    _check_remat(model)
    return dims


UNROLLED = 24
"""The most layers that `model.scan auto` unrolls on a GPU."""


def unrolled_layers(model: Model, platform: str, count: int) -> int:
    """How many of `count` layers in a row are unrolled, the last of them; those before them are one scanned program.

    A scan copies what each layer keeps for its gradient into stacks, and back out of them, a fifth of a step on an
    H100 (`experiments/benchmarks/hlo.md`); groups of layers within a scan have the same stacks. Unrolled layers keep
    it where it is, and their program takes time to compile with each of them.

    Args:
      model: says what `scan` is; `auto` unrolls none but on GPUs, where it unrolls all of a model of up to `UNROLLED`
        layers, and of a deeper one the same share of every stage.
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
    """The same model computed in the plainest way, as products are counted: dense attention, nothing twice."""
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
            raise ValueError("model.depths needs model.sharing.apart nothing: who shares layers has as many of them")
        if name not in ("video", "audio", "text") or number < 1:
            raise ValueError(f"model.depths has {name!r}: {number}; give 1 or more layers for video, audio or text")


def _check_remat(model: Model) -> None:
    if model.remat != "none" and model.remat not in KEPT:
        raise ValueError(f"model.remat {model.remat!r} is none of none, {', '.join(KEPT)}")
    for field in ("remat_keep", "remat_offload"):
        for name in getattr(model, field):
            if name not in get_args(Tensor):
                known = ", ".join(get_args(Tensor))
                raise ValueError(f"model.{field} has {name!r}, which no tensor of a layer is called: choose of {known}")
        if getattr(model, field) and model.remat == "none":
            raise ValueError(f"model.{field} says what is kept, but model.remat none keeps everything: take full")
    for name in model.remat_keep:
        if name in model.remat_offload:
            raise ValueError(f"model.remat_keep and model.remat_offload both have {name!r}: keep it in one place")


def decoder_dims(model: Model) -> ModelDims:
    """The numbers of the decoder of masked prediction; raises as `model_dims` does."""
    decoder = model.decoder
    dims = ModelDims(decoder.depth, decoder.width, decoder.heads, 4 * decoder.width)
    check_dims("model.decoder", dims, model.position)
    return dims


def check_dims(where: str, dims: ModelDims, position: str) -> None:
    """Raises ValueError, naming the field below `where`, for numbers that no transformer can have."""
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
