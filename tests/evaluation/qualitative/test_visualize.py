"""Reassembled patches are the original image."""

from __future__ import annotations

import numpy as np
from einops import rearrange

from mmvideo.evaluation.qualitative.visualize import unpatchify
from mmvideo.evaluation.report.parts.images import HIDDEN
from mmvideo.stream import PatchSpec


def _cells(grid: tuple[int, int, int]) -> np.ndarray:
    return np.stack([axis.ravel() for axis in np.meshgrid(*map(np.arange, grid), indexing="ij")], axis=1)


def test_video_patches_become_the_frames_again():
    from mmvideo.input.transforms.patchify import video_patches

    frames = np.random.default_rng(0).integers(0, 256, (8, 12, 20, 3)).astype(np.uint8)
    patches = video_patches(frames, (4, 6, 5))
    spec = PatchSpec((4, 6, 5, 3), (2, 2, 4), 0.5)
    order = np.random.default_rng(1).permutation(len(patches))
    np.testing.assert_array_equal(unpatchify(patches[order], _cells((2, 2, 4))[order], spec, (2, 2, 4), HIDDEN), frames)


def test_audio_patches_become_the_spectrogram_again():
    spectrogram = np.random.default_rng(0).normal(size=(30, 16)).astype(np.float32)
    patches = rearrange(spectrogram, "(T t) (M m) -> (T M) (t m)", t=10, m=8)
    spec = PatchSpec((10, 8), (3, 2, 1), 0.1)
    np.testing.assert_array_equal(unpatchify(patches, _cells((3, 2, 1)), spec, (3, 2, 1), np.nan), spectrogram)


def test_what_has_no_patch_is_filled():
    spec = PatchSpec((1, 2, 2, 3), (1, 2, 2), 0.5)
    picture = unpatchify(np.full((1, 12), 7, np.uint8), np.array([[0, 1, 0]]), spec, (1, 2, 2), HIDDEN)
    assert (picture[0, 2:, :2] == 7).all()
    assert (picture == HIDDEN).sum() == 3 * 12
    spec = PatchSpec((2, 2), (2, 1, 1), 0.1)
    sound = unpatchify(np.ones((1, 4), np.float32), np.array([[1, 0, 0]]), spec, (2, 1, 1), np.nan)
    assert np.isnan(sound[:2]).all() and (sound[2:] == 1).all()
