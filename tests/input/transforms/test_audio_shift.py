"""Shifted sound: as planned, by at least as much as was asked for, from the clip itself, and told."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Video
from mmvideo.input.pipeline import Batches
from mmvideo.input.transforms.audio_shift import Shift, sample_shift, shiftable
from mmvideo.input.transforms.crops import TemporalWindow, sample_window
from mmvideo.stream import Modality

AUDIO = Audio(seconds=1.0, waveform=400, sample_rate=16000, misaligned=0.5, shift=0.4)
CONFIG = Input(
    sources=(Source("samples:film"), Source("samples:sounds")),
    video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
    audio=AUDIO,
    text=None,
    masking=Masking(),
    packing=Packing(rows=4, tokens=160, clips=4),
)


def test_only_clips_with_pictures_and_enough_sound_can_be_shifted():
    video, audio = Video(fps=4.0, frames=8), Audio(seconds=2.0, shift=0.9)
    #          long enough, turned, too short, silent, no pictures, short sound in a long clip
    seconds = np.array([4.0, 2.0, 1.7, 4.0, 4.0, 3.9])
    steps = np.array([2, 2, 1, 2, 0, 2])
    samples = np.array([32000, 32000, 27000, 0, 32000, 32000])
    expected = [True, True, False, False, False, True]
    assert shiftable(seconds, steps, samples, video, audio).tolist() == expected
    assert not shiftable(seconds, steps, samples, None, audio).any()


def test_another_stretch_lies_in_the_clip_and_far_enough_away():
    starts = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        stretch = sample_window(4.0, 2, 16000, Video(fps=8.0), Audio(seconds=1.0), rng)
        shift = sample_shift(4.0, stretch, Audio(seconds=1.0, shift=1.2), rng)
        assert shift.roll == 0 and 0 <= shift.start <= 3.0
        assert abs(shift.start - stretch.start) >= 1.2
        starts.append(shift.start)
    assert min(starts) < 0.1 and max(starts) > 2.9


def test_what_is_turned_is_far_from_its_place_on_both_sides():
    audio = Audio(seconds=1.0, shift=0.4)
    stretch = TemporalWindow(0.1, 1.0, np.zeros(0), 16000)
    turns = [sample_shift(1.5, stretch, audio, np.random.default_rng(seed)) for seed in range(300)]
    assert {shift.start for shift in turns} == {0.1}
    assert min(shift.roll for shift in turns) >= 6400 and max(shift.roll for shift in turns) <= 9600
    assert len({shift.roll for shift in turns}) > 100
    assert sample_shift(1.5, stretch, Audio(seconds=1.0, shift=0.5), np.random.default_rng(0)) == Shift(0.1, 8000)


def _sound(stream, row: int, slot: int) -> np.ndarray:
    here = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == Modality.AUDIO)
    return stream.content["audio"][row][
        stream.layout.source_index[row][here] - stream.content["video"].shape[1]
    ].ravel()


@pytest.fixture(scope="module")
def pair() -> tuple[Batches, Batches]:
    """The same clips aligned, and shifted wherever they can be."""
    shifted = dataclasses.replace(CONFIG, audio=dataclasses.replace(AUDIO, misaligned=1.0))
    return Batches(shifted, train=False), Batches(shifted, train=False, misaligned=True)


def test_shifted_sound_is_the_clips_own_from_elsewhere(pair: tuple[Batches, Batches]):
    from mmvideo.media.decode import decode

    aligned, shifted = pair
    plain, moved = aligned.batch(0), shifted.batch(0)
    assert plain.clips.aligned.all()
    kinds = set()
    film = moved.clips.present[..., Modality.VIDEO]
    assert moved.clips.aligned[~film].all()
    for row, slot in np.argwhere(film):
        number = int(moved.clips.clip_index[row, slot])
        seconds, before, after = aligned.corpus.seconds[number], _sound(plain, row, slot), _sound(moved, row, slot)
        whole = decode(aligned.corpus.record(number).media, video=False).samples
        assert not moved.clips.aligned[row, slot]
        if seconds - 1.0 >= 0.8:
            offset = _where(whole, after) - _where(whole, before)
            assert abs(offset) >= 0.4 * 16000 - 2
            kinds.add("elsewhere")
        else:
            turns = [t for t in range(6400, 9601) if np.array_equal(np.roll(before, t), after)]
            assert len(turns) == 1
            kinds.add("turned")
        assert np.array_equal(plain.layout.grid[row], moved.layout.grid[row])
    assert kinds == {"elsewhere", "turned"}
    video = plain.layout.modality == Modality.VIDEO
    assert np.array_equal(plain.content["video"], moved.content["video"]) and video.any()


def _where(whole: np.ndarray, part: np.ndarray) -> int:
    """The sample at which a part begins, by the highest correlation."""
    from scipy.signal import correlate

    # What was heard may differ by a fraction of a sample in phase.
    return int(np.argmax(correlate(whole, part, mode="valid", method="fft")))


def test_as_many_are_shifted_as_planned_and_never_the_same_ones():
    batches = Batches(CONFIG)
    able = batches._picker.shiftable
    shares, moved = [], []
    for epoch in range(12):
        sampled, _ = batches._planner.needs(epoch)
        assert not (~sampled.aligned & ~able[sampled.clip]).any()
        shares.append((~sampled.aligned)[able[sampled.clip]].mean())
        moved.append(set(sampled.clip[~sampled.aligned].tolist()))
    assert able.sum() > 60 and abs(np.mean(shares) - 0.5) < 5 * (0.25 / (12 * able.sum())) ** 0.5
    assert moved[0] != moved[1]
    stream = batches.batch(0)
    sounds = stream.clips.clip_index >= batches.corpus.first[1]
    assert stream.clips.aligned[sounds].all() and not stream.clips.aligned.all()
    assert stream.clips.aligned[stream.clips.clip_index < 0].all()


def test_sound_that_ends_before_its_picture_is_silent_and_no_fault(tmp_path):
    from mmvideo.input.view_reader import _hear
    from mmvideo.media.decode import MediaError
    from mmvideo.media.encode import encode

    frames = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
    sound = np.random.default_rng(0).normal(0, 0.2, 16000).astype(np.float32)
    encode(tmp_path / "short.mp4", frames, 8, samples=sound)
    media = (tmp_path / "short.mp4").read_bytes()
    heard = _hear(media, 2.0, 1.0, 16000)
    assert heard.samples is None and not heard.truncated
    assert len(_hear(media, 0.0, 1.0, 16000).samples) == 16000
    with pytest.raises(MediaError):
        _hear(b"rubbish" * 100, 2.0, 1.0, 16000)
