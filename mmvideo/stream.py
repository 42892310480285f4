"""The one value that flows: many clips of video, sound and text in compact rows of tokens.

A row holds the tokens of up to `E` clips one behind the other, each clip as
`[video … | audio … | text …]`, until the row's budget of `L` tokens is full. A padded batch is the
special case of one clip a row, and a clip that lacks a modality is simply shorter: it has no tokens
there. Content travels as one compact array a modality; `Layout.index` weaves the embedded content
into the order of the row.

Every rule of attention is a span: the keys that a query may see are one contiguous range of its
row, so a fusion scheme is a choice of spans a layer and nothing else (`attention_spans`).

Shape letters: `B` rows, `L` tokens in a row, `E` clip slots in a row, `P` numbers in a patch.
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
"""Marks an empty token, clip slot, label or target place."""

MAX_CAPTIONS = 64
"""A clip in a row has fewer captions than this."""


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
    """Where every token of a row comes from and where it stands in its clip.

    Attributes:
      source_index: place in the woven source; 0 for padding. For `TokenStream.layout` the source is the
        content of the modalities one behind the other, in the order of `MODALITIES`, those
        that the stream has; for `TokenStream.decode` it is
        `[the L encoded tokens | video targets | audio targets]`.
      modality: a `Modality`, or `PADDING`.
      clip: slot of the clip in its row, 0 to E-1, or `PADDING`.
      time: middle of the token in seconds after the start of the clip's view; 0 for text.
      grid: cell `(t, y, x)` of the token in its modality's grid: tubelet, patch row and patch column
        for video; time step, mel patch and 0 for audio; 0, the number of the caption and the number of
        the piece for text.
    """

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
    """What was hidden from the encoder in one modality, and where it is to be predicted.

    Attributes:
      content: the hidden patches, `[B, M, P]` (uint8 pixels, float32 spectrogram), or the hidden
        text pieces, `[B, M]` int32.
      target_index: the token from which each is predicted: a place in the row of `TokenStream.decode` for
        patches, in the row of `TokenStream.layout` for text; `PADDING` where the slot is empty.
      clip: slot of the clip, or `PADDING`.
    """

    content: Any
    target_index: Int[Array, "B M"]
    clip: Int[Array, "B M"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MixupTargets:
    """Clips that others were mixed into (mixup, cutmix).

    Attributes:
      share: share of each clip that is its own; 1 where nothing was mixed in.
      labels: class number of what was mixed in, for each kind of label; `PADDING` where it is unknown.
    """

    share: Float[Array, "B E"]
    labels: dict[str, Int[Array, "B E"]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Clips:
    """The clips of every row.

    Attributes:
      clip_index: number of the clip in its (mixed) corpus, `PADDING` for an empty slot, also for one
        whose clip could not be decoded.
      present: which modalities the clip has, in the order of `MODALITIES`.
      labels: class number for each kind of label, `PADDING` where it is unknown.
      aligned: False where the sound was shifted against the picture; not given, it is True everywhere.
      teacher_embeddings: what another model made of the clip, by modality or group (`video`, `video+audio`), float32
        `[B, E, d]`; NaN where that is not known.
      targets: what is to be predicted as numbers, by kind: a 1 or 0 for each class of a kind of which a
        clip may have several, or one number; float32 `[B, E, c]`, NaN where it is unknown.
      mixed: what was mixed into the clips; None where nothing ever is.
      view: which of the views of the clip this is, in an evaluation that takes several; not given, it is 0.
      start: where the view starts, in seconds after the start of the clip; not given, it is 0.
      moments: what of the view its caption tells of: `W` stretches `[start, end]` in seconds after the start of
        the view, NaN behind the last; None where the corpus knows of none.
      saliency: how well each of the `T` steps of the largest video grid shows what the caption tells of, in
        [0, 1]; NaN where that is unknown. None as for `moments`.
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
        # JAX also builds clips of leaves that are no arrays.
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
      content: what the encoder sees of each modality, compact in the row: `video` uint8
        `[B, N, P]` in [0, 255], `audio` float32 `[B, N, P]` (normalised spectrogram), `text` int32
        `[B, N]`. A modality that no clip of the run can have has no entry.
      layout: the rows that the encoder works on.
      targets: what was hidden, for each modality in which something may be.
      decode: the rows of the decoder: every clip's encoded video and audio tokens and the hidden
        ones; None when nothing is hidden.
      clips: the clips of each row.
    """

    content: dict[str, Any]
    layout: TokenLayout
    targets: dict[str, Targets]
    decode: TokenLayout | None
    clips: Clips


@dataclasses.dataclass(frozen=True)
class PatchSpec:
    """What a model must know of a patched modality: numbers in a patch and cells of the largest grid.

    Attributes:
      patch: the patch as axes, `(t, y, x, 3)` for video and `(t, mel)` for audio; their product is P.
      grid: the largest `(t, y, x)` grid of tokens.
      seconds: time from one grid step to the next.
    """

    patch: tuple[int, ...]
    grid: tuple[int, int, int]
    seconds: float

    @property
    def size(self) -> int:
        """Numbers in a patch."""
        return int(np.prod(self.patch))


@dataclasses.dataclass(frozen=True)
class TextSpec:
    """What a model must know of text.

    Attributes:
      vocabulary: number of pieces.
      length: pieces of the longest caption, its marks included.
      mask_id: the piece that stands for a hidden one.
      begin_id: the piece that every caption begins with, `PADDING` where none does.
      end_id: the piece that every caption ends with, `PADDING` where none does.
      captions: a clip has at most so many.
      pad_id: the piece that fills up, `PADDING` where there is none; no text has it.
      answer_id: the piece between a question and its answer, `PADDING` where the tokenizer has none.
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
    """The static side of a stream, from which a model is built. None: the run has no such modality."""

    video: PatchSpec | None = None
    audio: PatchSpec | None = None
    text: TextSpec | None = None

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that streams of this kind can hold, in order."""
        return tuple(name for name in MODALITIES if getattr(self, name) is not None)


def attention_spans(
    layout: TokenLayout,
    groups: Sequence[Sequence[str]],
    causal: Sequence[str] = (),
    order: Sequence[str] = MODALITIES,
) -> Int[Array, "B L 2"]:
    """The span `[start, end)` of keys that each query sees when each group of modalities keeps to itself.

    Args:
      layout: rows in which each clip's tokens stand together, modality by modality.
      groups: a partition of the modalities; the members of a group must be neighbours in the order
        of the row. `[["video"], ["audio"], ["text"]]` keeps every modality to itself;
        `[["video", "audio", "text"]]` lets a clip see all of itself. Where text keeps to itself, so
        does each of several captions.
      causal: modalities whose tokens see nothing that stands behind them, and which the others of
        their group don't see; they must stand last. `["text"]` is a prefix language model.
      order: of the modalities within a clip of these rows.

    Returns:
      int32 spans. A padding token sees itself alone, which keeps a softmax finite.

    Raises:
      ValueError: a group whose members are not neighbours, a modality in no group or in two, or a
        causal one that stands before others of its group.
    """
    group_of = _group_indices(groups, order)
    ordered = np.isin(MODALITIES, list(causal))
    for group in groups:
        flags = [ordered[MODALITIES.index(name)] for name in sorted(group, key=list(order).index)]
        if flags != sorted(flags):
            raise ValueError(f"causal modalities {tuple(causal)} must stand last in their group {tuple(group)}")
    length = layout.modality.shape[1]
    place = jnp.arange(length, dtype=jnp.int32)
    group = jnp.asarray(group_of)[layout.modality]
    alone = jnp.asarray(np.bincount(group_of, minlength=len(MODALITIES)) == 1)[group]
    caption = jnp.where(alone & (layout.modality == Modality.TEXT), layout.grid[..., 1], 0)
    clip = (layout.clip * len(MODALITIES) + group) * MAX_CAPTIONS + caption
    key = jnp.where(layout.is_token, clip, -1 - place)
    backward = jnp.asarray(ordered)[layout.modality] & layout.is_token
    start = jax.lax.cummax(jnp.where(_first(key), place, 0), axis=1)
    # Tokens that are not causal end where the causal ones of their group begin.
    last = jnp.roll(_first(2 * key + backward), -1, axis=1).at[:, -1].set(True)
    end = jax.lax.cummin(jnp.where(last, place + 1, length), axis=1, reverse=True)
    end = jnp.where(backward, place + 1, end)
    return jnp.stack([start, end], axis=-1).astype(jnp.int32)


def _first(key: Int[Array, "B L"]) -> Bool[Array, "B L"]:
    """True where a key differs from the one before it."""
    return jnp.pad(key[:, 1:] != key[:, :-1], ((0, 0), (1, 0)), constant_values=True)


def _group_indices(groups: Sequence[Sequence[str]], order: Sequence[str]) -> np.ndarray:
    """Number of the group of each modality, `[3]`."""
    members = [name for group in groups for name in group]
    if sorted(members) != sorted(MODALITIES):
        raise ValueError(f"groups {groups} must hold each of {MODALITIES} exactly once")
    numbers = np.zeros(len(MODALITIES), np.int32)
    for number, group in enumerate(groups):
        places = sorted(list(order).index(name) for name in group)
        if places != list(range(places[0], places[0] + len(places))):
            raise ValueError(f"modalities {tuple(group)} are not neighbours in the order {tuple(order)}")
        numbers[[MODALITIES.index(name) for name in group]] = number
    return numbers


def padding_fraction(layout: TokenLayout) -> float:
    """Share of the row's token slots that hold no token, in [0, 1] (a host value)."""
    return float(1.0 - np.asarray(layout.is_token).mean())
