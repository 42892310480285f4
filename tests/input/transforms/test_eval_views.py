"""Views: within the clip, drawn in training and from the middle in evaluation; augmentations keep their word."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.input.annotations.captions import no_captions
from mmvideo.input.config import Audio, DropToken, Input, Masking, Video, Views
from mmvideo.input.planning.token_counts import clip_sizes, video_steps
from mmvideo.input.transforms.audio_shift import sample_shift, shiftable
from mmvideo.input.transforms.augment import (
    add_noise,
    erase_rectangle,
    jitter_colour,
    mask_spectrogram,
    mentions_left_right,
    roll_audio,
)
from mmvideo.input.transforms.crops import sample_crop, sample_window


def test_a_stretch_lies_within_its_clip_and_is_drawn():
    video, audio = Video(fps=8.0, frames=16), Audio(seconds=1.5)
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(200):
        stretch = sample_window(5.0, 4, 24000, video, audio, rng)
        assert 0 <= stretch.start <= 3.0 and stretch.seconds == 2.0
        assert len(stretch.times) == 16 and 0 < stretch.times[0] and stretch.times[-1] < 2.0
        starts.append(stretch.start)
    assert min(starts) < 0.2 and max(starts) > 2.8
    assert sample_window(5.0, 4, 24000, video, audio, None).start == 1.5
    assert sample_window(0.3, 1, 4800, video, audio, rng).start == 0.0


@pytest.mark.parametrize("shape", [(192, 108), (96, 96), (50, 300)])
def test_a_square_lies_within_the_scaled_picture(shape: tuple[int, int]):
    video = Video(size=64, crop_scale=0.3)
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(200):
        square = sample_crop(*shape, video, rng)
        assert all(0 <= c and c + 64 <= s for c, s in zip(square.corner, square.size, strict=True))
        assert abs(square.size[1] / square.size[0] - shape[0] / shape[1]) < 0.05 * shape[0] / shape[1]
        sides.add(min(square.size))
    assert min(sides) <= 66 and max(sides) >= 105
    middle = sample_crop(*shape, video, None)
    assert min(middle.size) == 64
    assert middle.corner == tuple((s - 64) // 2 for s in middle.size)


def test_the_longer_side_is_rounded_as_asked_for():
    """`down` is torchvision's and transformers' `int(size * long / short)`, nearly half the time a pixel less."""
    more = 0
    for width in range(100, 500, 7):
        for height in range(100, 500, 7):
            long, short = max(width, height), min(width, height)
            down, near = (
                sample_crop(width, height, Video(size=224, rounding=r), None).size for r in ("down", "nearest")
            )
            assert (min(down), max(down)) == (224, int(224 * long / short))
            assert min(near) == 224 and max(near) - max(down) in (0, 1)
            more += max(near) != max(down)
    assert 0.3 < more / 58**2 < 0.6
    views = Views(crops=3, resize_shorter=256)
    down = sample_crop(320, 241, Video(size=224, rounding="down"), None, views)
    assert down.size == (256, int(256 * 320 / 241)) and down.corner == (16, 0)


def test_a_crop_of_another_aspect_is_scaled_to_a_square():
    video, rng = Video(size=64, crop_scale=0.2, crop_aspect=(0.75, 4 / 3)), np.random.default_rng(0)
    ratios = []
    for _ in range(300):
        square = sample_crop(320, 240, video, rng)
        assert all(0 <= c and c + 64 <= s for c, s in zip(square.corner, square.size, strict=True))
        height, width = (64 * side / scaled for side, scaled in zip((240, 320), square.size, strict=True))
        assert 0.18 < height * width / 240**2 <= 1.02
        ratios.append(width / height)
    assert 0.73 < min(ratios) < 0.78 and 1.28 < max(ratios) < 1.36
    # Flat and tall as often.
    assert abs(np.mean(np.log(ratios))) < 0.05
    assert sample_crop(320, 240, video, None) == sample_crop(320, 240, Video(size=64), None)


def test_uniform_sampling_takes_one_frame_of_each_equal_part():
    video, audio = Video(fps=4.0, frames=8, tubelet=(2, 16, 16), sampling="uniform"), Audio(seconds=2.0)
    assert video_steps(np.array([0.1, 5.0, 100.0]), video).tolist() == [4, 4, 4]
    middle = sample_window(16.0, 4, 32000, video, audio, None)
    assert (middle.start, middle.seconds, middle.heard) == (0.0, 16.0, 7.0)
    assert middle.times.tolist() == [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]
    drawn = np.stack([sample_window(16.0, 4, 32000, video, audio, np.random.default_rng(s)).times for s in range(100)])
    assert (drawn // 2 == np.arange(8)).all()
    within = drawn % 2
    assert within.min() < 0.05 and within.max() > 1.95 and abs(np.corrcoef(within[:, 0], within[:, 1])[0, 1]) < 0.4
    # As the two views of Something-Something v2 (VideoMAE): from the start of the parts, and from their middles.
    views = Views(clips=2, crops=3)
    starts = [sample_window(16.0, 4, 32000, video, audio, None, views, view).times[0] for view in range(6)]
    assert starts == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    short = sample_window(1.3, 4, 20800, video, audio, None)
    assert short.heard == 0.0 and short.times[-1] < 1.3
    assert sample_window(9.0, 0, 32000, None, audio, None).start == 3.5


def test_sound_beside_uniform_pictures_is_shifted_by_turning_it():
    video, audio = Video(sampling="uniform"), Audio(seconds=2.0, shift=0.5)
    stretch = sample_window(16.0, 4, 32000, video, audio, None)
    shift = sample_shift(16.0, stretch, audio, np.random.default_rng(0))
    assert shift.start == 7.0 and 8000 <= shift.roll <= 24000
    able = shiftable(np.array([16.0, 0.9]), np.array([4, 4]), np.array([32000, 14400]), video, audio)
    assert able.tolist() == [True, False]


def test_frames_follow_from_the_seconds():
    video = Video(fps=8.0, frames=16, tubelet=(4, 16, 16))
    assert video_steps(np.array([0.01, 0.49, 0.5, 0.99, 1.0, 2.0, 9.0]), video).tolist() == [1, 1, 1, 1, 2, 4, 4]


def test_sizes_of_every_kind_of_clip():
    config = Input(masking=Masking(video=0.75, audio=0.5))
    seconds, video, audio = np.array([4.0, 1.0, 0.1, 4.0]), np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    sizes = clip_sizes(seconds, video, audio, no_captions(4), config, config.masking, DropToken())
    assert (sizes.video + sizes.video_hidden).tolist() == [64, 32, 0, 0]
    assert sizes.video_hidden.tolist() == [48, 24, 0, 0]
    assert (sizes.audio + sizes.audio_hidden).tolist() == [96, 0, 8, 0]
    assert sizes.audio_hidden.tolist() == [48, 0, 4, 0]


def test_spec_augment_blanks_within_its_limits():
    rows = np.ones((100, 32), np.float32)
    audio = Audio(time_masks=2, time_mask=10, mel_masks=1, mel_mask=8)
    blanked_time = set()
    for seed in range(50):
        out = mask_spectrogram(rows, audio, np.random.default_rng(seed))
        time, mel = (out == 0).all(axis=1).sum(), (out == 0).all(axis=0).sum()
        assert time <= 20 and mel <= 8
        assert set(np.unique(out)) <= {0.0, 1.0}
        blanked_time.add(int(time))
    assert max(blanked_time) > 12
    assert (rows == 1).all()


def test_colour_keeps_grey_grey_and_its_strength():
    frames = np.random.default_rng(0).integers(60, 190, (2, 8, 8, 3), dtype=np.uint8)
    assert np.abs(jitter_colour(frames, 0.0, np.random.default_rng(0)).astype(int) - frames).max() <= 1
    grey = np.repeat(frames[..., :1], 3, axis=-1)
    changed = jitter_colour(grey, 0.4, np.random.default_rng(1))
    assert (np.ptp(changed.astype(int), axis=-1) <= 1).all()
    flat = np.full((1, 4, 4, 3), 100, np.uint8)
    means = [jitter_colour(flat, 0.4, np.random.default_rng(s)).mean() for s in range(100)]
    assert 59 <= min(means) < 70 and 130 < max(means) <= 141


def test_erasing_fills_one_rectangle_of_all_frames_with_noise():
    frames = np.full((3, 40, 60, 3), 255, np.uint8)
    shares, ratios = [], []
    for seed in range(200):
        erased = erase_rectangle(frames, np.random.default_rng(seed))
        touched = (erased != 255).any(axis=(0, 3))
        rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
        high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert touched.sum() == high * wide
        inside = erased[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(float)
        assert 118 < inside.mean() < 137 and inside.std() > 60
        assert (inside[0] != inside[1]).mean() > 0.95
        shares.append(touched.mean())
        ratios.append(high / wide)
    assert 0.015 < min(shares) < 0.05 and 0.28 < max(shares) < 0.36
    assert min(ratios) < 0.5 and max(ratios) > 2
    assert (frames == 255).all()


def test_rolled_sound_is_turned_and_scaled():
    sound = np.arange(1000, dtype=np.float32)
    turns, factors = set(), []
    for seed in range(200):
        rolled = roll_audio(sound, True, np.random.default_rng(seed))
        first = int(np.flatnonzero(rolled == 0)[0])
        factor = np.roll(rolled, -first)[999] / 999
        np.testing.assert_allclose(rolled, factor * np.roll(sound, first), rtol=1e-5)
        turns.add(first)
        factors.append(factor)
    assert len(turns) > 150 and 0.5 < min(factors) < 0.8 and 1.2 < max(factors) < 1.5
    assert abs(np.mean(factors) - 1) < 0.03
    still = roll_audio(sound, False, np.random.default_rng(0))
    np.testing.assert_allclose(still / sound.clip(1), still[999] / 999 * sound / sound.clip(1), rtol=1e-5)


def test_noise_is_no_stronger_than_asked_for():
    rows = np.zeros((50, 16), np.float32)
    tops = [add_noise(rows, 0.1, np.random.default_rng(seed)) for seed in range(100)]
    assert all(0 <= top.min() and top.max() < 0.1 and top.dtype == np.float32 for top in tops)
    assert min(top.max() for top in tops) < 0.01 and max(top.max() for top in tops) > 0.09


def test_words_of_direction_forbid_a_flip():
    assert mentions_left_right(["a red ball moves to the Left"])
    assert mentions_left_right(["moving_right"])
    assert mentions_left_right(["turns anti-clockwise"])
    assert not mentions_left_right(["a bright rabbit leftovers", "the sun"])
