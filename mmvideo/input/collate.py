"""Assembly of the tokens of a row's clips into one row of a `TokenStream`.

The slots of every clip follow from the plan alone. The slots of an unreadable clip stay empty, and the other clips keep
their slots.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.annotations.teacher_embeddings import TeacherEmbeddings
from mmvideo.input.clip_loader import Tokens
from mmvideo.input.planning.token_counts import TOKEN_BUDGETS
from mmvideo.stream import (
    MODALITIES,
    PADDING,
    Clips,
    MixupTargets,
    Modality,
    StreamSpec,
    Targets,
    TokenLayout,
    TokenStream,
)

PATCHED = ("video", "audio")
"""Modalities that a decoder predicts."""


@dataclasses.dataclass(frozen=True)
class BatchShape:
    """Static shape of a row.

    Attributes:
      spec: modalities and patches.
      budget: slots for each of `token_counts.TOKEN_BUDGETS`.
      hidden: modalities with hidden tokens.
      mask_id: the mask token.
      kinds: label types.
      teacher_embeddings: length of a teacher embedding, by group.
      targets: values in a numeric target, by label type.
      moments: largest number of moments of any clip; None where none are known.
      mixed: whether clips may have others mixed in.
    """

    spec: StreamSpec
    budget: Int[np.ndarray, " 9"]
    hidden: tuple[str, ...]
    kinds: tuple[str, ...]
    teacher_embeddings: Mapping[str, int] = dataclasses.field(default_factory=dict)
    targets: Mapping[str, int] = dataclasses.field(default_factory=dict)
    moments: int | None = None
    mixed: bool = False

    def slots(self, name: str) -> int:
        """Return the slots of one budget."""
        return int(self.budget[TOKEN_BUDGETS.index(name)])

    @property
    def decoded(self) -> bool:
        """True if patches may be hidden, so that there is a decoder row."""
        return any(name in PATCHED for name in self.hidden)


def empty_row(shape: BatchShape) -> TokenStream:
    """Return a row without clips; its arrays lack the axis `B`."""
    content = {name: _content(shape.spec, name, shape.slots(name)) for name in shape.spec.modalities}
    targets = {}
    for name in shape.hidden:
        slots = shape.slots(f"{name}_hidden")
        targets[name] = Targets(_content(shape.spec, name, slots), _padding(slots), _padding(slots))
    clips = shape.slots("clips")
    return TokenStream(
        content=content,
        layout=_empty_layout(shape.slots("tokens")),
        targets=targets,
        decode=_empty_layout(shape.slots("decode")) if shape.decoded else None,
        clips=Clips(
            _padding(clips),
            np.zeros((clips, len(MODALITIES)), bool),
            {kind: _padding(clips) for kind in shape.kinds},
            np.ones(clips, bool),
            {group: _unknown(clips, width) for group, width in shape.teacher_embeddings.items()},
            {kind: _unknown(clips, width) for kind, width in shape.targets.items()},
            moments=None if shape.moments is None else _unknown(clips, shape.moments, 2),
            saliency=_unknown(clips, shape.spec.video.grid[0]) if shape.moments and shape.spec.video else None,
            mixed=_nothing_mixed(clips, shape.kinds) if shape.mixed else None,
        ),
    )


def assemble_row(
    shape: BatchShape,
    numbers: Int[np.ndarray, " e"],
    loaded: Sequence[Mapping[str, Tokens] | None],
    needs: Int[np.ndarray, "e 9"],
    labels: Mapping[str, Int[np.ndarray, " n"]],
    aligned: Bool[np.ndarray, " e"] | None = None,
    vectors: TeacherEmbeddings | None = None,
) -> TokenStream:
    """Return one row; its arrays lack the axis `B`.

    Args:
      shape: static shape of the row.
      numbers: numbers of the clips.
      loaded: tokens of each clip by modality; None for an unreadable clip.
      needs: planned slots of each clip, which determine where the next one starts.
      labels: classes of all clips of the mixture.
      aligned: False where the audio was shifted; None if none was.
      vectors: teacher embeddings of all clips of the mixture; None for none.
    """
    row = empty_row(shape)
    # Needs [3, 1, 2] of a budget: the clips start at [0, 3, 4].
    offsets = np.cumsum(needs, axis=0) - needs
    for slot, tokens in enumerate(loaded):
        # An unreadable clip keeps the defaults: its index is PADDING, and no loss counts it.
        if tokens is None:
            continue
        row.clips.clip_index[slot] = numbers[slot]
        for kind in shape.kinds:
            row.clips.labels[kind][slot] = labels[kind][numbers[slot]]
        if aligned is not None:
            row.clips.aligned[slot] = aligned[slot]
        for group in shape.teacher_embeddings:
            row.clips.teacher_embeddings[group][slot] = vectors.of(group, int(numbers[slot]))
        _put_clip(row, shape, slot, tokens, dict(zip(TOKEN_BUDGETS, offsets[slot].tolist(), strict=True)))
    return row


def stack_rows(rows: Sequence[TokenStream]) -> TokenStream:
    """Stack rows to a batch."""
    return jax.tree.map(lambda *parts: np.stack(parts), *rows)


def _put_clip(row: TokenStream, shape: BatchShape, slot: int, tokens: Mapping[str, Tokens], at: dict[str, int]) -> None:
    """Write the tokens of one clip; `at` is its first slot in each budget."""
    place, decode_place = at["tokens"], at["decode"]
    for name in shape.spec.modalities:
        if name not in tokens:
            continue
        part, number = tokens[name], Modality[name.upper()]
        row.clips.present[slot, number] = True
        # A hidden patch leaves the encoder's row. A hidden text token stays in it, as the mask token.
        shown = np.flatnonzero(~part.hidden) if name in PATCHED else np.arange(len(part.hidden))
        content = part.content[shown]
        if name not in PATCHED:
            content = np.where(part.hidden, shape.spec.text.mask_id, content)
        first = at[name]
        row.content[name][first : first + len(shown)] = content
        # The index into the concatenated content of all modalities, from which the model gathers the row.
        source = _base(shape, shape.spec.modalities, name, "") + first
        encoded = _put_tokens(row.layout, place, slot, number, part, shown, source)
        hidden = np.flatnonzero(part.hidden)
        # A text prediction is read at its own token in the encoder's row.
        predicted = place + hidden
        if shape.decoded and name in PATCHED:
            # The decoder's row holds the encoded tokens of the clip first (their source is the encoder's output), then
            # its hidden ones (their source is the block of targets, after the `L` encoder outputs).
            _put_tokens(row.decode, decode_place, slot, number, part, shown, encoded)
            decode_place += len(shown)
            predicted = decode_place + np.arange(len(hidden))
            if name in row.targets:
                base = _base(shape, [m for m in PATCHED if m in shape.hidden], name, "_hidden")
                source = shape.slots("tokens") + base + at[f"{name}_hidden"]
                _put_tokens(row.decode, decode_place, slot, number, part, hidden, source)
                decode_place += len(hidden)
        if name in row.targets:
            _put_targets(row.targets[name], at[f"{name}_hidden"], slot, part.content[hidden], predicted)
        place += len(shown)


def _put_tokens(
    layout: TokenLayout, place: int, slot: int, modality: int, part: Tokens, which: np.ndarray, source: int
) -> int:
    """Write the tokens `which` of a modality from `place` on; return `place`."""
    here = slice(place, place + len(which))
    layout.source_index[here] = source + np.arange(len(which))
    layout.modality[here] = modality
    layout.clip[here] = slot
    layout.time[here] = part.time[which]
    layout.grid[here] = part.grid[which]
    return place


def _put_targets(targets: Targets, first: int, slot: int, content: np.ndarray, place: np.ndarray) -> None:
    here = slice(first, first + len(place))
    targets.content[here] = content
    targets.target_index[here] = place
    targets.clip[here] = slot


def _base(shape: BatchShape, modalities: Sequence[str], name: str, suffix: str) -> int:
    """Return the offset of a modality in a concatenation of budgets."""
    # Slots of video 100, audio 50, text 20: the bases are 0, 100 and 150.
    return sum(shape.slots(before + suffix) for before in modalities[: list(modalities).index(name)])


def _content(spec: StreamSpec, name: str, slots: int) -> np.ndarray:
    if name == "text":
        return np.zeros(slots, np.int32)
    return np.zeros((slots, getattr(spec, name).size), np.uint8 if name == "video" else np.float32)


def _empty_layout(slots: int) -> TokenLayout:
    zeros = np.zeros(slots, np.int32)
    return TokenLayout(
        zeros, _padding(slots), _padding(slots), np.zeros(slots, np.float32), np.zeros((slots, 3), np.int32)
    )


def _unknown(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def _nothing_mixed(slots: int, kinds: Sequence[str]) -> MixupTargets:
    return MixupTargets(np.ones(slots, np.float32), {kind: _padding(slots) for kind in kinds})


def _padding(slots: int) -> np.ndarray:
    return np.full(slots, PADDING, np.int32)
