"""Numeric targets of clips: several classes as ones and zeros, or one value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int

from mmvideo.datasets.manifests.annotations import Annotations
from mmvideo.stream import PADDING, Clips

if TYPE_CHECKING:
    from mmvideo.datasets.corpus import Corpus


class NumberTargets:
    """Targets of the clips of several corpora, concatenated.

    A class that a corpus does not name is unknown for its clips, not absent from them. A class that it names is either
    present or absent in every clip whose classes are known.

    Args:
      corpora: the sources' corpora.
      first: number of each corpus's first clip, then the number of clips.
      classes: class names of each label type that allows several classes, merged over the corpora.
      kinds: label types by sort.

    Attributes:
      widths: values in a target of each label type.
    """

    def __init__(
        self,
        corpora: Sequence[Corpus],
        first: Int[np.ndarray, " s1"],
        classes: Mapping[str, Sequence[str]],
        kinds: Annotations,
    ):
        self.widths = {kind: len(classes[kind]) for kind in kinds.several} | {kind: 1 for kind in kinds.number}
        self._tables, self._first = [corpus.table for corpus in corpora], first
        self._place = {
            kind: [_places(c.classes.get(kind, []), classes[kind]) for c in corpora] for kind in kinds.several
        }

    def of(self, numbers: Int[np.ndarray, " e"]) -> dict[str, Float32[np.ndarray, "e _"]]:
        """Return the targets of these clips by label type: 1 or 0 for each class, or one value.

        Targets are NaN where they are unknown, and for `PADDING`.
        """
        targets = {kind: np.full((len(numbers), width), np.nan, np.float32) for kind, width in self.widths.items()}
        for row, number in enumerate(numbers.tolist()):
            if number == PADDING:
                continue
            source = int(np.searchsorted(self._first, number, side="right")) - 1
            table, clip = self._tables[source], number - int(self._first[source])
            for kind, target in targets.items():
                if kind in table.numbers:
                    target[row] = table.numbers[kind][clip]
                elif kind in table.several and table.several[kind][clip] is not None:
                    # Zeros only for classes that this corpus names; the other classes stay NaN.
                    place = self._place[kind][source]
                    target[row, place[place >= 0]] = 0
                    own = place[table.several[kind][clip]]
                    target[row, own[own >= 0]] = 1
        return targets


def fill_targets(clips: Clips, targets: NumberTargets) -> None:
    """Write the targets of the clips of an assembled row."""
    for kind, values in targets.of(clips.clip_index).items():
        clips.targets[kind][:] = values


def _places(own: Sequence[str], merged: Sequence[str]) -> Int[np.ndarray, " c"]:
    """Return the index of each class of one corpus among all classes; -1 for a class that is not among them."""
    # own ["run", "jump"], merged ["jump", "run"]: the result is [1, 0].
    number = {name: place for place, name in enumerate(merged)}
    return np.array([number.get(name, -1) for name in own], np.int64)
