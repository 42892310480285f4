"""The plan: a pure function of tables, seed and epoch; every clip as often as it should come."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.input.annotations.captions import Captions
from mmvideo.input.config import Input, Source
from mmvideo.input.mixture import epoch_counts
from mmvideo.input.planning.epoch_plan import EpochOrder, Planner, Row
from mmvideo.input.planning.sampler import ExampleSampler
from mmvideo.input.planning.token_counts import TokenCounts


def _planner(clips: int = 100, seed: int = 0, shuffled: bool = True) -> Planner:
    rng = np.random.default_rng(5)
    video, audio = rng.integers(0, 5, clips) * 16, rng.integers(1, 5, clips) * 8
    nothing = np.zeros(clips, np.int64)
    each = rng.integers(0, 3, clips)
    first = np.concatenate([[0], np.cumsum(each)])
    start = np.concatenate([[0], np.cumsum(rng.integers(3, 12, first[-1]))])
    captions = Captions(np.zeros(start[-1], np.int32), start, first)
    text = np.diff(start)
    sizes = TokenCounts(video // 16, audio // 8, video, audio, nothing, nothing, text, np.zeros_like(text))
    order = EpochOrder([np.arange(clips)], [clips], seed, shuffled)
    has = np.stack([video > 0, audio > 0, each > 0], axis=1)
    sampler = ExampleSampler(has, captions, np.ones(clips, bool), Input(seed=seed), shuffled, False)
    return Planner(order, sampler, sizes, np.array([256, 6, 256, 256, 256, 0, 0, 0, 0]))


def _listed(row: Row) -> tuple:
    return row.epoch, row.position.tolist(), row.sampled.clip.tolist(), row.sampled.caption[:, 0].tolist()


def _rows(planner: Planner, count: int) -> list[tuple]:
    return [_listed(planner.row(number)) for number in range(count)]


def test_rows_are_a_lookup_in_any_order():
    count = 80
    forwards = _rows(_planner(), count)
    backwards = _planner()
    seen = [None] * count
    for number in reversed(range(count)):
        seen[number] = _listed(backwards.row(number))
    assert seen == forwards
    assert {row[0] for row in forwards} > {0, 1, 2}


def test_what_a_stretch_of_rows_is_to_read():
    planner = _planner()
    rows = _rows(planner, 120)
    for first, count in ((0, 1), (3, 7), (0, 120), (30, 60), (119, 1)):
        planned = planner.planned(first, count)
        assert planned.clips == sum(len(row[2]) for row in rows[first : first + count])
        assert (planned.epoch, planned.of) == (rows[first][0], 100)
    once = _planner(shuffled=False)
    ends = len(once.epoch(0))
    assert once.planned(ends - 1, 9).clips == len(once.row(ends - 1).sampled) > 0
    assert once.planned(ends + 5, 9).clips == 0


def test_another_seed_is_another_order():
    assert _rows(_planner(seed=0), 10) != _rows(_planner(seed=1), 10)


def test_every_clip_comes_once_an_epoch_and_no_row_is_lost_between_epochs():
    planner = _planner()
    rows = _rows(planner, 120)
    for epoch in range(3):
        clips = [clip for row in rows if row[0] == epoch for clip in row[2]]
        assert sorted(clips) == list(range(100))
        assert sum(row[0] == epoch for row in rows) == len(planner.epoch(epoch))


def test_epochs_differ_in_order_and_captions():
    rows = _rows(_planner(), 120)
    first, second = (
        {c: (i, k) for i, r in enumerate(rows) if r[0] == e for c, k in zip(r[2], r[3], strict=True)} for e in (0, 1)
    )
    assert [first[c][0] for c in range(100)] != [second[c][0] for c in range(100)]
    assert any(first[c][1] != second[c][1] for c in range(100))


def test_evaluation_has_one_epoch_in_the_order_of_the_corpus():
    planner = _planner(shuffled=False)
    rows = _rows(planner, len(planner.epoch(0)) + 5)
    assert sorted(clip for row in rows for clip in row[2]) == list(range(100))
    assert all(row[2] == sorted(row[2]) for row in rows)
    firsts = [row[2][0] for row in rows if row[2]]
    assert firsts == sorted(firsts)
    assert [row[2] for row in rows[-5:]] == [[]] * 5


def test_chosen_captions_belong_to_their_clips():
    planner = _planner()
    sampled, _ = planner.needs(0)
    clip, caption = sampled.clip, sampled.caption[:, 0]
    first = planner.sampler.captions.first
    none = first[clip] == first[clip + 1]
    assert (caption[none] == -1).all()
    assert ((caption >= first[clip]) & (caption < first[clip + 1]))[~none].all()


@pytest.mark.parametrize("counts", [(30, 70), (90, 10), (250, 20)])
def test_weights_give_each_source_its_share_and_never_leave_a_clip_out(counts: tuple[int, int]):
    members = [np.arange(40), np.arange(40, 100)]
    order = EpochOrder(members, counts, 3, True)
    drawn = [order.clips(epoch) for epoch in range(12)]
    for clips in drawn:
        assert ((clips < 40).sum(), (clips >= 40).sum()) == counts
    seen = np.bincount(np.concatenate(drawn), minlength=100)
    for source in members:
        assert seen[source].max() - seen[source].min() <= 1


def test_epoch_counts():
    def sources(*weights: float | None) -> list[Source]:
        return [Source(str(i), weight=w) for i, w in enumerate(weights)]

    assert epoch_counts(sources(None, None), [40, 60]) == [40, 60]
    assert epoch_counts(sources(3.0, 1.0), [40, 60]) == [75, 25]
    assert epoch_counts(sources(1.0, 1.0, 1.0), [10, 10, 80]) == [34, 33, 33]
    with pytest.raises(ValueError, match="give every source a weight"):
        epoch_counts(sources(None, 1.0), [40, 60])
    with pytest.raises(ValueError, match="above 0"):
        epoch_counts(sources(0.0, 1.0), [40, 60])
