"""Plan of an epoch: the assignment of clips to rows, a pure function of corpus tables, config and epoch.

The rows of all epochs form one endless sequence. A batch may therefore span the end of an epoch, and no row is lost.
Row number `r` is a lookup: the rows of an epoch are planned when one of them is first requested (a million clips take
a few seconds), and the row count of every earlier epoch is kept. A run that resumes in a later epoch plans the
earlier ones again, only to count their rows.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from mmvideo.input.planning.packer import pack
from mmvideo.input.planning.sampled_examples import SampledExamples
from mmvideo.input.planning.sampler import ExampleSampler
from mmvideo.input.planning.token_counts import TokenCounts
from mmvideo.input.rng import RngStream, generator

_KEPT = 3
"""Number of planned epochs kept in memory: threads may still read one while the next begins."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """An epoch laid out in rows.

    Attributes:
      sampled: the clip at each position of the epoch, with its shown modalities.
      member: positions, row by row.
      start: first index of each row in `member`, then the end of the last row.
    """

    sampled: SampledExamples
    member: Int[np.ndarray, " n"]
    start: Int[np.ndarray, " r1"]

    def __len__(self) -> int:
        return len(self.start) - 1


@dataclasses.dataclass(frozen=True)
class Row:
    """A planned row: its epoch, its clips, and the position of each clip in the epoch. An empty row has no clips."""

    epoch: int
    position: Int[np.ndarray, " e"]
    sampled: SampledExamples


@dataclasses.dataclass(frozen=True)
class Planned:
    """Summary of a stretch of rows.

    Attributes:
      epoch: epoch of the first row.
      clips: number of clips in the stretch.
      of: number of clips in that epoch.
    """

    epoch: int
    clips: int
    of: int


class EpochOrder:
    """Order of the clips of every epoch, before packing.

    Training draws the clips of each source in passes. A pass is a new permutation of all of them, and an epoch
    continues where the previous one stopped, so weights never leave a clip out. Evaluation has one epoch in the order
    of the corpora.
    """

    def __init__(self, members: Sequence[Int[np.ndarray, " m"]], counts: Sequence[int], seed: int, shuffled: bool):
        """Store the clips of each source and the number that an epoch draws.

        Args:
          members: clip numbers of each source.
          counts: clips that an epoch has of each source; ignored unless shuffled.
          seed: seed of the run.
          shuffled: False for evaluation.
        """
        self.members = tuple(members)
        self.counts = tuple(counts)
        self.seed = seed
        self.shuffled = shuffled

    def clips(self, epoch: int) -> Int[np.ndarray, " n"]:
        """Return the clip numbers in the order of an epoch."""
        if not self.shuffled:
            return np.concatenate(self.members)
        parts = [self._drawn(source, epoch) for source in range(len(self.members))]
        clips = np.concatenate(parts)
        return clips[generator(self.seed, RngStream.EPOCH, epoch).permutation(len(clips))]

    def _drawn(self, source: int, epoch: int) -> np.ndarray:
        """Return the clips `[epoch * count, (epoch + 1) * count)` of the passes of one source."""
        members, count = self.members[source], self.counts[source]
        if count == 0:
            return members[:0]
        start, stop = epoch * count, (epoch + 1) * count
        # 3 clips, 2 an epoch: epoch 1 is [2, 4) of the passes, the last clip of pass 0 and the first of pass 1.
        passes = range(start // len(members), -(-stop // len(members)))
        orders = [members[generator(self.seed, RngStream.PASS, source, p).permutation(len(members))] for p in passes]
        skipped = start - passes.start * len(members)
        return np.concatenate(orders)[skipped : skipped + count]


class Planner:
    """Planner of epochs and lookup of their rows; safe to use from many threads."""

    def __init__(self, order: EpochOrder, sampler: ExampleSampler, sizes: TokenCounts, budget: Int[np.ndarray, " 9"]):
        self.order, self.sampler, self.sizes, self.budget = order, sampler, sizes, budget
        self._ends: list[int] = []
        self._epochs: collections.OrderedDict[int, Epoch] = collections.OrderedDict()
        self._lock = threading.Lock()

    def needs(self, epoch: int) -> tuple[SampledExamples, Int[np.ndarray, "n 9"]]:
        """Return the samples at every position of an epoch and the slots that each needs."""
        sampled = self.sampler.pick(self.order.clips(epoch), epoch)
        return sampled, self.sizes.table(sampled)

    def plan(self, epoch: int) -> Epoch:
        """Return the rows of an epoch: in the order of the corpus for evaluation, else in a drawn order."""
        sampled, needs = self.needs(epoch)
        row = pack(needs, self.budget)
        rows = int(row.max(initial=-1)) + 1
        if self.order.shuffled:
            # Packing places large clips first; a drawn order gives batches of similar content.
            rank = generator(self.order.seed, RngStream.ROWS, epoch).permutation(rows)
        else:
            # Order rows by their first clip: rows [1, 0, 1] of three clips start at [1, 0], so row 1 gets rank 0.
            first = np.full(rows, len(sampled))
            np.minimum.at(first, row, np.arange(len(sampled)))
            rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
        row = rank[row]
        # rows [1, 0, 1]: member is [1, 0, 2] and start is [0, 1, 3].
        member = np.argsort(row, kind="stable")
        start = np.searchsorted(row[member], np.arange(rows + 1))
        return Epoch(sampled, member, start)

    def row(self, number: int) -> Row:
        """Return row `number` of the endless sequence; it is empty after the single epoch of an evaluation."""
        epoch, place = self.locate(number)
        # Batches after the end of an evaluation consist of empty rows.
        if epoch > 0 and not self.order.shuffled:
            none = np.zeros(0, np.int64)
            return Row(epoch, none, self.sampler.pick(none, epoch))
        planned = self.epoch(epoch)
        position = planned.member[planned.start[place] : planned.start[place + 1]]
        return Row(epoch, position, planned.sampled[position])

    def planned(self, first: int, count: int) -> Planned:
        """Return the summary of `count` rows from row `first` on."""
        epoch, place = self.locate(first)
        # The rows may continue into later epochs: take what this epoch still has, then go on at row 0 of the next.
        clips, of, before = 0, len(self.epoch(epoch).member), epoch
        while count > 0 and (epoch == 0 or self.order.shuffled):
            start = self.epoch(epoch).start
            end = min(place + count, len(start) - 1)
            clips += int(start[end] - start[min(place, end)])
            count, place, epoch = count - (end - place), 0, epoch + 1
        return Planned(before, clips, of)

    def locate(self, number: int) -> tuple[int, int]:
        """Return the epoch of a row and the row's index in it."""
        while True:
            known = len(self._ends)
            if known and (number < self._ends[-1] or not self.order.shuffled):
                break
            self.epoch(known)
        # Ends [10, 21]: row 9 is row 9 of epoch 0, row 10 is row 0 of epoch 1.
        epoch = int(np.searchsorted(self._ends, number, side="right"))
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def epoch(self, number: int) -> Epoch:
        """Return a planned epoch, from memory if it is there."""
        with self._lock:
            if number not in self._epochs:
                planned = self.plan(number)
                self._epochs[number] = planned
                if number == len(self._ends):
                    self._ends.append((self._ends[-1] if self._ends else 0) + len(planned))
                # The oldest planned epoch goes first; its row count stays in `_ends`.
                while len(self._epochs) > _KEPT:
                    self._epochs.popitem(last=False)
            return self._epochs[number]
