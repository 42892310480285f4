"""Views: within the clip, drawn in training and from the middle in evaluation; augmentations keep their word."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.input.augment import jitter_colour, mask_spectrogram, tells_sides
from mmvideo.input.captions import no_captions
from mmvideo.input.config import Audio, Drop, Input, Masking, Video
from mmvideo.input.sampling import draw_square, draw_stretch
from mmvideo.input.sizes import clip_sizes, video_steps


def test_a_stretch_lies_within_its_clip_and_is_drawn():
    video, audio = Video(fps=8.0, frames=16), Audio(seconds=1.5)
    rng = np.random.default_rng(0)
    starts = []
    for _ in range(200):
        stretch = draw_stretch(5.0, 4, 24000, video, audio, rng)
        assert 0 <= stretch.start <= 3.0 and stretch.seconds == 2.0
        assert len(stretch.times) == 16 and 0 < stretch.times[0] and stretch.times[-1] < 2.0
        starts.append(stretch.start)
    assert min(starts) < 0.2 and max(starts) > 2.8
    assert draw_stretch(5.0, 4, 24000, video, audio, None).start == 1.5
    assert draw_stretch(0.3, 1, 4800, video, audio, rng).start == 0.0


@pytest.mark.parametrize("shape", [(192, 108), (96, 96), (50, 300)])
def test_a_square_lies_within_the_scaled_picture(shape: tuple[int, int]):
    video = Video(size=64, crop_scale=0.3)
    rng = np.random.default_rng(0)
    sides = set()
    for _ in range(200):
        square = draw_square(*shape, video, rng)
        assert all(0 <= c and c + 64 <= s for c, s in zip(square.corner, square.size, strict=True))
        assert abs(square.size[1] / square.size[0] - shape[0] / shape[1]) < 0.05 * shape[0] / shape[1]
        sides.add(min(square.size))
    assert min(sides) <= 66 and max(sides) >= 105
    middle = draw_square(*shape, video, None)
    assert min(middle.size) == 64
    assert middle.corner == tuple((s - 64) // 2 for s in middle.size)


def test_frames_follow_from_the_seconds():
    video = Video(fps=8.0, frames=16, tubelet=(4, 16, 16))
    assert video_steps(np.array([0.01, 0.49, 0.5, 0.99, 1.0, 2.0, 9.0]), video).tolist() == [1, 1, 1, 1, 2, 4, 4]


def test_sizes_of_every_kind_of_clip():
    config = Input(masking=Masking(video=0.75, audio=0.5))
    seconds, video, audio = np.array([4.0, 1.0, 0.1, 4.0]), np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    sizes = clip_sizes(seconds, video, audio, no_captions(4), config, config.masking, Drop())
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


def test_words_of_direction_forbid_a_flip():
    assert tells_sides(["a red ball moves to the Left"])
    assert tells_sides(["moving_right"])
    assert tells_sides(["turns anti-clockwise"])
    assert not tells_sides(["a bright rabbit leftovers", "the sun"])
