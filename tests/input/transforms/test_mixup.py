"""Mixup and cutmix: exactly what the share says of pixels, samples and labels, whoever makes the batch."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import numpy as np
import pytest

from mmvideo.datasets.corpus import open_corpus
from mmvideo.input.config import Audio, Input, Masking, Mixing, ModalityDropout, Packing, Source, Video
from mmvideo.input.pipeline import Batches
from mmvideo.input.rng import clip_rngs
from mmvideo.input.transforms.mixup import fill_mixup_targets, sample_mixup, sample_partners
from mmvideo.input.transforms.patchify import video_frames
from mmvideo.stream import Clips, MixupTargets, Modality, TokenStream

PLAIN = Input(
    sources=(Source("samples:film"), Source("samples:sounds")),
    video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16), crop_scale=0.6, colour=0.2),
    audio=Audio(seconds=2.5, waveform=400, sample_rate=16000),
    masking=Masking(),
    packing=Packing(rows=4, tokens=160, clips=5),
)
MIXUP = dataclasses.replace(PLAIN, mixing=Mixing(mixup=0.8))
CUTMIX = dataclasses.replace(PLAIN, mixing=Mixing(cutmix=1.0))
BOTH = dataclasses.replace(PLAIN, mixing=Mixing(mixup=0.8, cutmix=1.0, share=0.7))


def _equal(a: TokenStream, b: TokenStream) -> bool:
    same = jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    return all(jax.tree.leaves(same))


def _content(stream: TokenStream, row: int, slot: int) -> dict[str, np.ndarray]:
    """The frames and the samples of one clip, those that it shows."""
    found, layout = {}, stream.layout
    for name, base in (("video", 0), ("audio", stream.content["video"].shape[1])):
        here = (layout.clip[row] == slot) & (layout.modality[row] == Modality[name.upper()])
        if here.any():
            patches = stream.content[name][row][layout.source_index[row][here] - base]
            found[name] = video_frames(patches, (2, 16, 16), 32, 32) if name == "video" else patches.ravel()
    return found


def _pairs(config: Input, steps: Sequence[int]):
    """Of each clip of a batch: its share, what it shows mixed and as it is, and its own and its partner's footage."""
    mixed, plain = Batches(config), Batches(PLAIN)
    read = plain._loader._reader.read
    for step, row in itertools.product(steps, range(4)):
        ours, theirs = mixed.batch(step), plain.batch(step)
        assert np.array_equal(ours.clips.clip_index, theirs.clips.clip_index)
        planned = mixed._planner.row(4 * step + row)
        for slot, (number, partner) in enumerate(
            zip(planned.sampled.clip.tolist(), planned.sampled.partner.tolist(), strict=True)
        ):
            assert partner >= 0
            shown, place = (
                tuple(planned.sampled.present[slot, :2].tolist()),
                (planned.epoch, int(planned.position[slot])),
            )
            own = read(number, shown, clip_rngs(config.seed, True, place))
            other = read(partner, shown, clip_rngs(config.seed, True, (*place, 1)), fitted=own.stretch)
            share = float(ours.clips.mixed.share[row, slot])
            assert ours.clips.start[row, slot] == np.float32(own.stretch.start)
            yield share, _content(ours, row, slot), _content(theirs, row, slot), own, other


def _sum(own, other, share: float) -> np.ndarray:
    """Both sounds around their means, the other cut or silent where it ends."""
    sound = share * (own.audio - own.audio.mean(dtype=np.float64))
    heard = other.audio - other.audio.mean(dtype=np.float64)
    sound[: len(heard)] += (1 - share) * heard
    return sound


def _repeated(frames: np.ndarray, count: int) -> np.ndarray:
    return frames[np.minimum(np.arange(count), len(frames) - 1)].astype(float)


def test_mixup_is_the_weighted_sum_of_pixels_and_of_samples_around_their_mean():
    shares, seen, lengths = [], set(), set()
    for share, mixed, plain, own, other in _pairs(MIXUP, (2,)):
        shares.append(share)
        seen.add(tuple(mixed))
        if "video" in mixed:
            expected = share * plain["video"] + (1 - share) * _repeated(other.frames, len(plain["video"]))
            # Rounded to the next whole value, whatever the rounding of the sum.
            assert np.abs(mixed["video"] - expected).max() <= 0.5 + 1e-4
        if "audio" in mixed:
            assert np.array_equal(plain["audio"], own.audio[: len(plain["audio"])])
            lengths.add(np.sign(len(own.audio) - len(other.audio)))
            np.testing.assert_allclose(mixed["audio"], _sum(own, other, share)[: len(mixed["audio"])], atol=1e-6)
    assert seen == {("video", "audio"), ("audio",)}
    assert lengths == {0, 1}
    assert min(shares) < 0.3 and max(shares) > 0.7


def test_cutmix_replaces_as_much_of_the_picture_as_its_share_says():
    areas = []
    for share, mixed, plain, own, other in _pairs(CUTMIX, (1, 2, 3)):
        if "video" not in mixed:
            continue
        frames, others = plain["video"], _repeated(other.frames, len(plain["video"])).astype(np.uint8)
        area = (1 - share) * 32 * 32
        assert area == pytest.approx(round(area), abs=1e-3)
        areas.append(round(area))
        foreign = (mixed["video"] == others).all(axis=(0, 3))
        changed = (mixed["video"] != frames).any(axis=(0, 3))
        assert not (changed & ~foreign).any()
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        if len(rows):
            box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            assert changed.sum() > 0.9 * box and 0.85 * areas[-1] <= box <= areas[-1]
        np.testing.assert_allclose(mixed["audio"], _sum(own, other, share)[: len(mixed["audio"])], atol=1e-6)
    assert len(areas) > 5 and max(areas) > 500 and min(areas) < 300


def test_a_drawn_box_has_the_area_that_the_share_leaves():
    rng = np.random.default_rng(0)
    shares, cut = [], []
    for _ in range(2000):
        blend = sample_mixup(Mixing(mixup=0.8, cutmix=1.0, switch=0.3), 64, rng)
        cut.append(blend.box is not None)
        if blend.box is not None:
            top, bottom, left, right = blend.box
            assert 0 <= top <= bottom <= 64 and 0 <= left <= right <= 64
            assert blend.share == 1 - (bottom - top) * (right - left) / 4096
            shares.append(blend.share)
    assert abs(np.mean(cut) - 0.3) < 0.04
    # Half of the area on average, less what is cut off at the edges.
    assert 0.6 < np.mean(shares) < 0.75 and min(shares) < 0.25 and max(shares) > 0.95
    silent = [sample_mixup(Mixing(cutmix=1.0), 0, rng) for _ in range(500)]
    assert all(blend.box is None for blend in silent)
    assert abs(np.mean([blend.share for blend in silent]) - 0.5) < 0.05


def test_a_batch_of_mixed_clips_is_the_same_whoever_makes_it_and_when():
    whole = Batches(BOTH).batch(5)
    parts = [Batches(BOTH, process_index=i, process_count=2).batch(5) for i in range(2)]
    assert _equal(jax.tree.map(lambda *x: np.concatenate(x), *parts), whole)
    resumed = Batches(BOTH)
    ((_, stream),) = resumed.iterate(5, 6)
    assert _equal(stream, whole) and _equal(resumed.batch(5), whole)
    assert not _equal(resumed.batch(6), whole)


def test_partners_are_others_of_the_epoch_that_have_what_the_clip_shows():
    presence = ModalityDropout(drop={"video": 0.3, "audio": 0.3})
    batches = Batches(dataclasses.replace(BOTH, modality_dropout=presence))
    has = batches._picker.has
    partners = []
    for epoch in range(4):
        sampled, _ = batches._planner.needs(epoch)
        mixed, media = sampled.partner >= 0, sampled.present[:, :2].any(axis=1)
        assert 0 < (~media).sum() and not mixed[~media].any()
        assert abs(mixed[media].mean() - 0.7) < 0.12
        assert (has[sampled.partner[mixed], :2] >= sampled.present[mixed, :2]).all()
        assert (sampled.partner != sampled.clip).all()
        assert set(sampled.partner[mixed].tolist()) <= set(sampled.clip.tolist())
        partners.append(sampled.partner)
    assert not np.array_equal(partners[0], partners[1])
    again, _ = Batches(dataclasses.replace(BOTH, modality_dropout=presence))._planner.needs(2)
    assert np.array_equal(again.partner, partners[2])


def test_every_other_clip_is_as_often_a_partner_and_one_alone_has_none():
    has = np.array([[True, True, False]] * 3 + [[True, False, False]] + [[False, True, True]])
    uniform = np.stack([np.zeros(5), np.zeros(5)], axis=1)
    rng = np.random.default_rng(0)
    counts = np.zeros((5, 5), int)
    for _ in range(6000):
        uniform[:, 1] = rng.random(5)
        partner = sample_partners(np.arange(5), has, has, 1.0, uniform)
        counts[np.arange(5), partner] += 1
    expected = np.zeros((5, 5))
    expected[:3, :3] = 3000 * (1 - np.eye(3))
    expected[3, :3] = expected[4, :3] = 2000
    assert np.abs(counts - expected).max() < 200
    lonely = sample_partners(np.arange(2), has[3:], has[3:], 1.0, uniform[:2])
    assert lonely.tolist() == [-1, -1]


def test_labels_are_those_of_the_partner():
    batches = Batches(BOTH)
    known = 0
    for step in range(3):
        clips = batches.batch(step).clips
        assert clips.mixed.share.dtype == np.float32 and set(clips.mixed.labels) == set(batches.classes)
        for row in range(4):
            sampled = batches._planner.row(4 * step + row).sampled
            for slot, partner in enumerate(sampled.partner.tolist()):
                share = float(clips.mixed.share[row, slot])
                assert (share == 1) if partner < 0 else (0 <= share <= 1)
                for kind, classes in clips.mixed.labels.items():
                    expected = batches.corpus.labels[kind][partner] if partner >= 0 else -1
                    assert classes[row, slot] == expected
                    known += expected >= 0
            assert (clips.mixed.share[row, len(sampled) :] == 1).all()
    assert known > 5


def test_targets_are_mixed_where_both_are_known():
    several = np.array([[1, 0, np.nan], [0, 1, 1], [1, 1, 0]], np.float32)
    clips = Clips(
        np.array([3, 1, 0, -1]),
        np.ones((4, 3), bool),
        {"kind": np.array([0, 1, 2, -1], np.int32)},
        targets={"several": np.concatenate([several, np.full((1, 3), np.nan, np.float32)])},
        mixed=MixupTargets(np.ones(4, np.float32), {"kind": np.full(4, -1, np.int32)}),
    )
    partner, share = np.array([5, -1, 4]), np.array([0.75, 1.0, 0.5])
    others = np.array([[0, 0, 1], [np.nan, np.nan, np.nan], [0, np.nan, 1]], np.float32)
    fill_mixup_targets(clips, partner, share, {"kind": np.arange(10, 16, dtype=np.int32)}, {"several": others})
    assert clips.mixed.share.tolist() == [0.75, 1.0, 0.5, 1.0]
    assert clips.mixed.labels["kind"].tolist() == [15, -1, 14, -1]
    expected = [[0.75, 0, np.nan], [0, 1, 1], [0.5, np.nan, 0.5], [np.nan] * 3]
    np.testing.assert_array_equal(clips.targets["several"], np.array(expected, np.float32))
    assert clips.labels["kind"].tolist() == [0, 1, 2, -1]


def test_nothing_is_mixed_in_evaluation_or_where_it_is_not_asked_for():
    still = Mixing(mixup=0.8, share=0.0)
    assert Batches(dataclasses.replace(PLAIN, mixing=still)).batch(0).clips.mixed is None
    assert Batches(PLAIN).batch(0).clips.mixed is None
    ours, theirs = (Batches(config, train=False, masked=False).batch(0) for config in (BOTH, PLAIN))
    assert ours.clips.mixed is None and _equal(ours, theirs)


class _Broken:
    """A corpus in which one clip's file is rubbish."""

    def __init__(self, corpus, broken: int):
        self._corpus, self._broken = corpus, broken

    def __len__(self) -> int:
        return len(self._corpus)

    def __getattr__(self, name: str):
        return getattr(self._corpus, name)

    def __getitem__(self, index: int):
        record = self._corpus[index]
        return dataclasses.replace(record, media=b"rubbish" * 100) if index == self._broken else record


def test_a_clip_whose_partner_cannot_be_read_stays_as_it_is():
    config = dataclasses.replace(MIXUP, sources=PLAIN.sources[:1])
    batches = Batches(config)
    sampled = batches._planner.row(0).sampled
    slot = next(s for s, p in enumerate(sampled.partner) if p not in sampled.clip and (sampled.partner == p).sum() == 1)
    partner = int(sampled.partner[slot])
    broken = Batches(config, corpora=[_Broken(open_corpus("samples:film", "train"), partner)])
    plain = Batches(dataclasses.replace(config, mixing=Mixing()))
    ours, whole, theirs = (batch._row(0) for batch in (broken, batches, plain))
    assert [clip for clip, _ in broken.skipped] == [batches.clip_id(partner)]
    assert ours.clips.clip_index.tolist() == whole.clips.clip_index.tolist()
    assert ours.clips.mixed.share[slot] == 1 and whole.clips.mixed.share[slot] < 1
    assert all(classes[slot] == -1 for classes in ours.clips.mixed.labels.values())
    for name in ("video", "audio"):
        here = (ours.layout.clip == slot) & (ours.layout.modality == Modality[name.upper()])
        base = 0 if name == "video" else len(ours.content["video"])
        place = ours.layout.source_index[here] - base
        assert np.array_equal(ours.content[name][place], theirs.content[name][place])
        others = np.setdiff1d(np.arange(len(ours.content[name])), place)
        assert np.array_equal(ours.content[name][others], whole.content[name][others])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixing": Mixing(mixup=-1.0)}, r"input.mixing.mixup=-1.0 and cutmix=0.0 must be 0 or more"),
        ({"mixing": Mixing(cutmix=1.0, switch=1.5)}, r"input.mixing.switch=1.5 must be from 0 to 1"),
        ({"mixing": Mixing(mixup=1.0), "embeddings": "teacher.npz"}, "input.embeddings tell what another model made"),
    ],
)
def test_a_wrong_setting_stops_at_once(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        Batches(dataclasses.replace(PLAIN, **changes))
