"""Batches of video, audio and text clips as compact rows of tokens.

A row holds the tokens of up to `E` clips in sequence, each clip as `[video … | audio … | text …]`, until the row's
budget of `L` tokens is full. A padded batch is the special case of one clip a row. A clip that lacks a modality has no
tokens of it and is shorter. Content travels as one compact array per modality; `TokenLayout.source_index` gathers the
embedded content into the order of the row.

Every rule of attention is a span: the keys that a query may see are one contiguous range of its row. A fusion scheme is
therefore only a choice of spans per layer (`attention_spans`).

Shape letters: `B` rows, `L` tokens in a row, `E` clip slots in a row, `P` elements of a patch.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

PADDING = -1
"""Marker of an empty token, clip slot, label or target index."""

MAX_CAPTIONS = 64
"""Upper bound (exclusive) on the captions of a clip in a row."""


class Modality(enum.IntEnum):
    """The modalities of a stream, numbered in their order within a clip."""

    VIDEO = 0
    AUDIO = 1
    TEXT = 2


MODALITIES: tuple[str, ...] = tuple(m.name.lower() for m in Modality)
"""`("video", "audio", "text")`."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenLayout:
    """Source, modality, clip and position of every token of a row.

    Attributes:
      source_index: index of the token in its source; 0 for padding. The source of `TokenStream.layout` is the content
        of the stream's modalities, concatenated in the order of `MODALITIES`. The source of `TokenStream.decode` is
        `[the L encoded tokens | video targets | audio targets]`.
      modality: a `Modality`, or `PADDING`.
      clip: slot of the clip in its row, 0 to E-1, or `PADDING`.
      time: middle of the token in seconds after the start of the clip's view; 0 for text.
      grid: cell `(t, y, x)` of the token in the grid of its modality. Video: tubelet, patch row, patch column. Audio:
        time step, mel patch, 0. Text: 0, index of the caption, index of the token in the caption.
    """

    # Example with L = 6: clip 0 has 2 video and 1 text tokens, clip 1 has 1 video and 1 text tokens.
    # The content is video [v0 v1 v2] (indices 0 to 2) and text [t0 t1] (indices 3 and 4).
    #   source_index  0 1 3 2 4  0    the row is v0 v1 t0 v2 t1 and padding
    #   modality      0 0 2 0 2 -1
    #   clip          0 0 0 1 1 -1
    source_index: Int[Array, "B L"]
    modality: Int[Array, "B L"]
    clip: Int[Array, "B L"]
    time: Float[Array, "B L"]
    grid: Int[Array, "B L 3"]

    @property
    def is_token(self) -> Bool[Array, "B L"]:
        """True where a slot holds a token, False where it is padding."""
        return self.modality != PADDING


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Targets:
    """Content of one modality that is hidden from the encoder, and the tokens that predict it.

    Attributes:
      content: hidden patches `[B, M, P]` (uint8 pixels or float32 spectrogram), or hidden text tokens `[B, M]` int32.
      target_index: index of the token that predicts each entry; `PADDING` where the slot is empty. It counts in the row
        of `TokenStream.decode` for patches and in the row of `TokenStream.layout` for text.
      clip: slot of the clip, or `PADDING`.
    """

    content: Any
    target_index: Int[Array, "B M"]
    clip: Int[Array, "B M"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MixupTargets:
    """Clips that were mixed with another clip (mixup, cutmix).

    Attributes:
      share: share of the clip's own content, in [0, 1]; 1 where nothing was mixed in.
      labels: class index of the content mixed in, for each label field; `PADDING` where it is unknown.
    """

    share: Float[Array, "B E"]
    labels: dict[str, Int[Array, "B E"]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Clips:
    """The clips of every row.

    Attributes:
      clip_index: index of the clip in its (mixed) corpus; `PADDING` for an empty slot and for a clip that could not be
        decoded.
      present: modalities that the clip has, in the order of `MODALITIES`.
      labels: class index for each label field, `PADDING` where it is unknown.
      aligned: False where the audio was shifted against the video. Default: True everywhere.
      teacher_embeddings: embeddings of the clip from another model, by modality or group (`video`, `video+audio`),
        float32 `[B, E, d]`; NaN where they are unknown.
      targets: float32 targets `[B, E, c]` by label field: 0 or 1 for each class of a multi-label field, or one value to
        regress; NaN where it is unknown.
      mixed: content mixed into the clips; None where mixing is off.
      view: index of the view of the clip, in an evaluation with several views. Default: 0.
      start: start of the view in seconds after the start of the clip. Default: 0.
      moments: `W` spans `[start, end]` of the view that its caption describes, in seconds after the start of the view;
        unused spans at the end are NaN. None where the corpus has no moments.
      saliency: relevance of each of the `T` steps of the largest video grid to the caption, in [0, 1]; NaN where it is
        unknown. None as for `moments`.
    """

    clip_index: Int[Array, "B E"]
    present: Bool[Array, "B E 3"]
    labels: dict[str, Int[Array, "B E"]]
    aligned: Bool[Array, "B E"] | None = None
    teacher_embeddings: dict[str, Float[Array, "B E _"]] = dataclasses.field(default_factory=dict)
    targets: dict[str, Float[Array, "B E _"]] = dataclasses.field(default_factory=dict)
    mixed: MixupTargets | None = None
    view: Int[Array, "B E"] | None = None
    start: Float[Array, "B E"] | None = None
    moments: Float[Array, "B E W 2"] | None = None
    saliency: Float[Array, "B E T"] | None = None

    def __post_init__(self) -> None:
        # JAX also builds `Clips` whose leaves are not arrays (tree structures, shardings): they have no shape to fill.
        if not hasattr(self.clip_index, "shape"):
            return
        for name, value, kind in (("aligned", True, bool), ("view", 0, np.int32), ("start", 0, np.float32)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(self.clip_index.shape, value, kind))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TokenStream:
    """A batch: `B` packed rows.

    Attributes:
      content: visible content of each modality, compact in the row: `video` uint8 `[B, N, P]` in [0, 255], `audio`
        float32 `[B, N, P]` (normalised spectrogram), `text` int32 `[B, N]`. A modality that no clip of the run can have
        has no entry.
      layout: layout of the rows that the encoder processes.
      targets: hidden content, for each modality of which some may be hidden.
      decode: layout of the decoder's rows: the encoded video and audio tokens of every clip, and the hidden ones; None
        when nothing is hidden.
      clips: the clips of each row.
    """

    content: dict[str, Any]
    layout: TokenLayout
    targets: dict[str, Targets]
    decode: TokenLayout | None
    clips: Clips


@dataclasses.dataclass(frozen=True)
class PatchSpec:
    """The static facts of a patched modality that a model is built from.

    Attributes:
      patch: axes of a patch, `(t, y, x, 3)` for video and `(t, mel)` for audio; their product is `P`.
      grid: the largest `(t, y, x)` grid of tokens.
      seconds: time from one grid step to the next.
    """

    patch: tuple[int, ...]
    grid: tuple[int, int, int]
    seconds: float

    @property
    def size(self) -> int:
        """Elements of a patch."""
        return int(np.prod(self.patch))


@dataclasses.dataclass(frozen=True)
class TextSpec:
    """The static facts of text that a model is built from.

    Attributes:
      vocabulary: number of token ids.
      length: tokens of the longest caption, special tokens included.
      mask_id: id of the mask token, which replaces a hidden token.
      begin_id: id of the token that begins every caption; `PADDING` if there is none.
      end_id: id of the token that ends every caption; `PADDING` if there is none.
      captions: the largest number of captions of a clip.
      pad_id: id of the padding token, which occurs in no text; `PADDING` if there is none.
      answer_id: id of the token between a question and its answer; `PADDING` if the tokenizer has none.
    """

    vocabulary: int
    length: int
    mask_id: int
    begin_id: int = PADDING
    end_id: int = PADDING
    captions: int = 1
    pad_id: int = PADDING
    answer_id: int = PADDING


@dataclasses.dataclass(frozen=True)
class StreamSpec:
    """The static facts of a stream, from which a model is built; None for a modality that the run lacks."""

    video: PatchSpec | None = None
    audio: PatchSpec | None = None
    text: TextSpec | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that such streams can hold, in order."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)


def attention_spans(
    layout: TokenLayout,
    groups: Sequence[Sequence[str]],
    causal: Sequence[str] = (),
    order: Sequence[str] = MODALITIES,
) -> Int[Array, "B L 2"]:
    """Return the span `[start, end)` of keys that each query may attend to.

    Tokens attend within their clip, and there within their group of modalities.

    Args:
      layout: rows in which the tokens of each clip are contiguous and sorted by modality.
      groups: a partition of the modalities; members of a group must be neighbours in the order of the row. With
        `[["video"], ["audio"], ["text"]]` every modality attends only to itself; with `[["video", "audio", "text"]]` a
        clip attends to all of itself. If text is a group of its own, each of several captions attends only to itself.
      causal: modalities whose tokens attend to no later token, and to which the rest of their group does not attend;
        they must come last in the group. `["text"]` is a prefix language model.
      order: order of the modalities within a clip of these rows.

    Returns:
      int32 spans. A padding token attends to itself alone, which keeps its softmax finite.

    Raises:
      ValueError: a group whose members are not neighbours, a modality in no group or in two, or a causal modality
        before others of its group.
    """
    group_of = _group_indices(groups, order)
    ordered = np.isin(MODALITIES, list(causal))
    for group in groups:
        flags = [ordered[MODALITIES.index(name)] for name in sorted(group, key=list(order).index)]
        if flags != sorted(flags):
            raise ValueError(f"causal modalities {tuple(causal)} must come last in their group {tuple(group)}")
    length = layout.modality.shape[1]
    index = jnp.arange(length, dtype=jnp.int32)
    # Worked example: one clip of 2 video and 2 text tokens, one of 1 audio token, and 1 padding token; all three
    # modalities are one group.
    #   modality   v  v  t  t  a  -    the first letters
    #   clip       0  0  0  0  1 -1
    #   start      0  0  0  0  4  5
    #   end        4  4  4  4  5  6    without causal modalities
    #   end        2  2  3  4  5  6    with causal text: video ends where text begins, text sees up to itself
    group = jnp.asarray(group_of)[layout.modality]
    # Captions are told apart only where text is a group of its own; `MAX_CAPTIONS` keeps the keys of two groups
    # distinct.
    alone = jnp.asarray(np.bincount(group_of, minlength=len(MODALITIES)) == 1)[group]
    caption = jnp.where(alone & (layout.modality == Modality.TEXT), layout.grid[..., 1], 0)
    clip = (layout.clip * len(MODALITIES) + group) * MAX_CAPTIONS + caption
    # Every padding token gets a key of its own (-1, -2, …), so that its span holds only itself.
    key = jnp.where(layout.is_token, clip, -1 - index)
    is_causal = jnp.asarray(ordered)[layout.modality] & layout.is_token
    # The running maximum carries the index of a segment's first token to all its tokens.
    start = jax.lax.cummax(jnp.where(_begins_segment(key), index, 0), axis=1)
    # The spans of tokens that are not causal end where the causal ones of their group begin.
    last = jnp.roll(_begins_segment(2 * key + is_causal), -1, axis=1).at[:, -1].set(True)
    end = jax.lax.cummin(jnp.where(last, index + 1, length), axis=1, reverse=True)
    end = jnp.where(is_causal, index + 1, end)
    return jnp.stack([start, end], axis=-1).astype(jnp.int32)


def _begins_segment(key: Int[Array, "B L"]) -> Bool[Array, "B L"]:
    """Return True where a key differs from the one before it."""
    return jnp.pad(key[:, 1:] != key[:, :-1], ((0, 0), (1, 0)), constant_values=True)


def _group_indices(groups: Sequence[Sequence[str]], order: Sequence[str]) -> np.ndarray:
    """Return the index of the group of each modality, `[3]`."""
    members = [name for group in groups for name in group]
    if sorted(members) != sorted(MODALITIES):
        raise ValueError(f"groups {groups} must hold each of {MODALITIES} exactly once")
    # Example: groups [["video", "audio"], ["text"]] give [0, 0, 1].
    indices = np.zeros(len(MODALITIES), np.int32)
    for group_index, group in enumerate(groups):
        ranks = sorted(list(order).index(name) for name in group)
        # A span is contiguous, so it can't hold video and text without the audio between them.
        if ranks != list(range(ranks[0], ranks[0] + len(ranks))):
            raise ValueError(f"modalities {tuple(group)} are not neighbours in the order {tuple(order)}")
        indices[[MODALITIES.index(name) for name in group]] = group_index
    return indices


def padding_fraction(layout: TokenLayout) -> float:
    """Return the share of the token slots that hold no token, in [0, 1] (a host value)."""
    return float(1.0 - np.asarray(layout.is_token).mean())
