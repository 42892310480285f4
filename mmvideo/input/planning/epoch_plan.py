"""Which clips stand in which row: a pure function of the corpus tables, the config and the epoch.

The rows of all epochs form one endless sequence, so that a batch may span the end of an epoch and no
row is lost there. Row number `r` is a lookup: an epoch's rows are planned when one of them is first
asked for (a million clips take a few seconds), and the number of rows of the epochs before it is kept.
A run that resumes in a later epoch plans those before it again, only to count their rows.
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
"""Planned epochs that stay in memory: threads still work on one while the next begins."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """An epoch laid out in rows.

    Attributes:
      sampled: the clip at each position of the epoch, and what is shown of it.
      member: positions, row by row.
      start: where each row starts in `member`, and the end of the last.
    """

    sampled: SampledExamples
    member: Int[np.ndarray, " n"]
    start: Int[np.ndarray, " r1"]

    def __len__(self) -> int:
        return len(self.start) - 1


@dataclasses.dataclass(frozen=True)
class Row:
    """One planned row: the epoch it belongs to, its clips and the position of each in the epoch. An empty one has
    no clips."""

    epoch: int
    position: Int[np.ndarray, " e"]
    sampled: SampledExamples


@dataclasses.dataclass(frozen=True)
class Planned:
    """What a stretch of rows is to read.

    Attributes:
      epoch: of its first row.
      clips: in the stretch.
      of: clips of that epoch.
    """

    epoch: int
    clips: int
    of: int


class EpochOrder:
    """The clips of every epoch, before they are packed.

    Training draws each source's clips in passes: a pass is a new order of all of them, and an epoch goes
    on where the one before stopped, so that weights never leave a clip out. Evaluation has one epoch, in
    the order of the corpora.
    """

    def __init__(self, members: Sequence[Int[np.ndarray, " m"]], counts: Sequence[int], seed: int, shuffled: bool):
        """Args:
        members: the numbers of the clips of each source.
        counts: how many of each an epoch has; ignored unless shuffled.
        seed: seed of the run.
        shuffled: False for evaluation.
        """
        self.members = tuple(members)
        self.counts = tuple(counts)
        self.seed = seed
        self.shuffled = shuffled

    def clips(self, epoch: int) -> Int[np.ndarray, " n"]:
        """Clip numbers in the order of an epoch."""
        if not self.shuffled:
            return np.concatenate(self.members)
        parts = [self._drawn(source, epoch) for source in range(len(self.members))]
        clips = np.concatenate(parts)
        return clips[generator(self.seed, RngStream.EPOCH, epoch).permutation(len(clips))]

    def _drawn(self, source: int, epoch: int) -> np.ndarray:
        """What an epoch draws from one source: places `[epoch * count, (epoch + 1) * count)` of its passes."""
        members, count = self.members[source], self.counts[source]
        if count == 0:
            return members[:0]
        start, stop = epoch * count, (epoch + 1) * count
        passes = range(start // len(members), -(-stop // len(members)))
        orders = [members[generator(self.seed, RngStream.PASS, source, p).permutation(len(members))] for p in passes]
        skipped = start - passes.start * len(members)
        return np.concatenate(orders)[skipped : skipped + count]


class Planner:
    """Lays out epochs and finds rows in them. Safe to use from many threads."""

    def __init__(self, order: EpochOrder, sampler: ExampleSampler, sizes: TokenCounts, budget: Int[np.ndarray, " 9"]):
        self.order, self.sampler, self.sizes, self.budget = order, sampler, sizes, budget
        self._ends: list[int] = []
        self._epochs: collections.OrderedDict[int, Epoch] = collections.OrderedDict()
        self._lock = threading.Lock()

    def needs(self, epoch: int) -> tuple[SampledExamples, Int[np.ndarray, "n 9"]]:
        """What is shown at every position of an epoch, and what it needs of a row."""
        sampled = self.sampler.pick(self.order.clips(epoch), epoch)
        return sampled, self.sizes.table(sampled)

    def plan(self, epoch: int) -> Epoch:
        """An epoch's rows; in the order of the corpus for evaluation, else in a drawn one."""
        sampled, needs = self.needs(epoch)
        row = pack(needs, self.budget)
        rows = int(row.max(initial=-1)) + 1
        if self.order.shuffled:
            # Packing puts the large clips first: drawn rows make the batches alike.
            rank = generator(self.order.seed, RngStream.ROWS, epoch).permutation(rows)
        else:
            first = np.full(rows, len(sampled))
            np.minimum.at(first, row, np.arange(len(sampled)))
            rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
        row = rank[row]
        member = np.argsort(row, kind="stable")
        start = np.searchsorted(row[member], np.arange(rows + 1))
        return Epoch(sampled, member, start)

    def row(self, number: int) -> Row:
        """Row `number` of the endless sequence; past the end of evaluation's one epoch it is empty."""
        epoch, place = self.locate(number)
        if epoch > 0 and not self.order.shuffled:
            none = np.zeros(0, np.int64)
            return Row(epoch, none, self.sampler.pick(none, epoch))
        planned = self.epoch(epoch)
        position = planned.member[planned.start[place] : planned.start[place + 1]]
        return Row(epoch, position, planned.sampled[position])

    def planned(self, first: int, count: int) -> Planned:
        """What `count` rows from `first` on are to read."""
        epoch, place = self.locate(first)
        clips, of, before = 0, len(self.epoch(epoch).member), epoch
        while count > 0 and (epoch == 0 or self.order.shuffled):
            start = self.epoch(epoch).start
            end = min(place + count, len(start) - 1)
            clips += int(start[end] - start[min(place, end)])
            count, place, epoch = count - (end - place), 0, epoch + 1
        return Planned(before, clips, of)

    def locate(self, number: int) -> tuple[int, int]:
        """The epoch of a row and its place there."""
        while True:
            known = len(self._ends)
            if known and (number < self._ends[-1] or not self.order.shuffled):
                break
            self.epoch(known)
        epoch = int(np.searchsorted(self._ends, number, side="right"))
        return epoch, number - (self._ends[epoch - 1] if epoch else 0)

    def epoch(self, number: int) -> Epoch:
        """A planned epoch, from memory if it is there."""
        with self._lock:
            if number not in self._epochs:
                planned = self.plan(number)
                self._epochs[number] = planned
                if number == len(self._ends):
                    self._ends.append((self._ends[-1] if self._ends else 0) + len(planned))
                while len(self._epochs) > _KEPT:
                    self._epochs.popitem(last=False)
            return self._epochs[number]
