"""Patches: they make up the picture, stand where they say, and overlap when told to."""

from __future__ import annotations

import numpy as np

from mmvideo.input.config import Audio, Video
from mmvideo.input.transforms import patchify


def test_video_patches_make_up_the_frames():
    frames = np.random.default_rng(0).integers(0, 256, (8, 48, 32, 3), dtype=np.uint8)
    patches = patchify.video_patches(frames, (4, 16, 8))
    assert patches.shape == (2 * 3 * 4, 4 * 16 * 8 * 3)
    assert (patchify.video_frames(patches, (4, 16, 8), 48, 32) == frames).all()


def test_a_video_patch_is_the_cell_that_its_place_names():
    video = Video(fps=8.0, frames=8, size=48, tubelet=(4, 16, 8))
    frames = np.random.default_rng(1).integers(0, 256, (8, 48, 48, 3), dtype=np.uint8)
    patches = patchify.video_patches(frames, video.tubelet)
    grid, time = patchify.video_positions(2, video, (np.arange(8) + 0.5) / 8)
    for number in (0, 7, 17, 35):
        t, y, x = grid[number]
        cell = frames[4 * t : 4 * t + 4, 16 * y : 16 * y + 16, 8 * x : 8 * x + 8]
        assert (patches[number].reshape(4, 16, 8, 3) == cell).all()
        assert time[number] == (0.25 if t == 0 else 0.75)


def test_audio_patches_with_a_shorter_stride_overlap():
    audio = Audio(patch=(16, 32), stride=(10, 16))
    rows = np.random.default_rng(2).normal(size=(52, 128)).astype(np.float32)
    patches = patchify.audio_patches(rows, audio)
    steps = int(patchify.audio_steps(np.array([52]), audio)[0])
    assert (steps, patchify.audio_bands(audio)) == (4, 7)
    assert patches.shape == (28, 16 * 32)
    grid, time = patchify.audio_positions(steps, audio)
    for number in (0, 8, 27):
        t, m, _ = grid[number]
        assert (patches[number].reshape(16, 32) == rows[10 * t : 10 * t + 16, 16 * m : 16 * m + 32]).all()
        np.testing.assert_allclose(time[number], (10 * t + 8) * 0.01, rtol=1e-6)


def test_specs_name_patch_and_largest_grid():
    video = patchify.video_spec(Video(fps=10.0, frames=12, size=64, tubelet=(2, 16, 32)))
    assert (video.patch, video.grid, video.seconds) == ((2, 16, 32, 3), (6, 4, 2), 0.2)
    audio = patchify.audio_spec(Audio(patch=(16, 16), stride=(8, 16)), 198)
    assert (audio.patch, audio.grid) == ((16, 16), (23, 8, 1))
    np.testing.assert_allclose(audio.seconds, 0.08)
    assert audio.size == 256


def test_a_spectrogram_shorter_than_a_patch_still_gives_one():
    assert patchify.audio_steps(np.array([0, 5, 16, 31, 32]), Audio(patch=(16, 16))).tolist() == [1, 1, 1, 1, 2]
