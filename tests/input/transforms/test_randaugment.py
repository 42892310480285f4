"""RandAugment: all frames alike, as strong as asked for, and nothing that turns where sides matter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvideo.input.config import Input, Masking, Packing, RandAugment, Source, Video
from mmvideo.input.pipeline import Batches
from mmvideo.input.transforms.randaugment import COLOURS, SHIFTS, TURNS, change, rand_augment

GRADUAL = set(COLOURS + SHIFTS + TURNS) - {"auto_contrast", "equalize", "invert", "posterize"}


def _frames(count: int = 3, size: int = 48) -> np.ndarray:
    """Pictures of all colours."""
    y, x = np.mgrid[:size, :size] / size
    one = np.stack([60 + 130 * x, 40 + 170 * y, 200 - 120 * x * y], axis=-1)
    one += np.random.default_rng(0).uniform(-20, 20, one.shape)
    return np.stack([one + 5 * t for t in range(count)]).astype(np.uint8)


@pytest.mark.parametrize("name", sorted(GRADUAL))
def test_at_strength_0_nothing_changes_and_more_changes_more(name: str):
    frames = _frames()
    assert np.array_equal(change(frames, name, 0.0, 1.0), frames)
    weak, strong = (np.abs(change(frames, name, s, -1.0).astype(int) - frames).mean() for s in (0.2, 0.9))
    assert 0 < weak < strong


@pytest.mark.parametrize("name", COLOURS + SHIFTS + TURNS)
def test_frames_that_are_alike_stay_alike(name: str):
    frames = np.repeat(_frames(1), 4, axis=0)
    changed = change(frames, name, 0.7, 1.0)
    assert changed.shape == frames.shape and changed.dtype == np.uint8
    assert (changed == changed[:1]).all()


def test_changes_are_what_their_names_say():
    frames = _frames()
    assert np.array_equal(change(frames, "invert", 0.7, 1.0), 255 - frames)
    assert np.array_equal(change(frames, "posterize", 0.7, 1.0), frames & 0b11000000)
    threshold = 256 - int(0.7 * 256)
    assert np.array_equal(change(frames, "solarize", 0.7, 1.0), np.where(frames < threshold, frames, 255 - frames))
    added = np.where(frames < 128, np.minimum(frames.astype(int) + 77, 255), frames)
    assert np.array_equal(change(frames, "solarize_add", 0.7, 1.0), added)
    brighter = np.clip(frames * 1.63, 0, 255)
    assert np.abs(change(frames, "brightness", 0.7, 1.0) - brighter).max() <= 1
    moved = change(frames, "translate_x", 10 / (0.45 * 48), 1.0)
    assert np.array_equal(moved[:, :, :38], frames[:, :, 10:])
    assert (moved[:, 2:-2, 39:] == (124, 116, 104)).all()
    # The clip's own darkest and brightest values become 0 and 255, those of no single frame.
    stretched = change(frames, "auto_contrast", 0.7, 1.0)
    assert (stretched.min(axis=(0, 1, 2)) == 0).all() and (stretched.max(axis=(0, 1, 2)) == 255).all()
    assert stretched[0].max() < 255


def _varied(number: int) -> np.ndarray:
    """One of many tiny clips: noise, one value, two values, dark, a gradient; of one frame or two, of odd sizes."""
    rng = np.random.default_rng(number)
    shape = (1 + number % 2, *((1, 1), (2, 7), (5, 3), (6, 6))[number // 2 % 4], 3)
    kinds = (
        rng.integers(0, 256, shape),
        np.full(shape, rng.integers(0, 256)),
        rng.choice([0, 255], shape),
        rng.integers(0, 3, shape),
        np.broadcast_to(np.linspace(0, 255, shape[2])[:, None], shape),
    )
    return kinds[number // 8 % 5].astype(np.uint8)


@pytest.mark.parametrize("name", COLOURS + SHIFTS + TURNS)
def test_every_change_works_at_every_magnitude_on_every_clip(name: str):
    for number in range(200):
        frames = _varied(number)
        for magnitude in range(11):
            changed = change(frames, name, magnitude / 10, 1.0 if number % 3 else -1.0)
            assert changed.shape == frames.shape and changed.dtype == np.uint8


def test_posterize_keeps_4_bits_down_to_none():
    """The published code (timm's and VideoMAE's `posterize_increasing`) keeps `4 - int(m / 10 * 4)` bits."""
    frames = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    kept = {0: 0xF0, 2: 0xF0, 3: 0xE0, 5: 0xC0, 7: 0xC0, 8: 0x80, 9: 0x80, 10: 0x00}
    for magnitude, mask in kept.items():
        assert np.array_equal(change(frames, "posterize", magnitude / 10, 1.0), frames & mask), magnitude


def test_the_strongest_changes_do_not_end_a_run():
    """`RandAugment(2, 10.0, 0.0)`, as scenic has it for EPIC-KITCHENS, drew 0 bits in one of fourteen clips."""
    frames, settings = _frames(1, 16), RandAugment(layers=2, magnitude=10.0, deviation=0.0)
    changed = [rand_augment(frames, settings, False, np.random.default_rng(seed)) for seed in range(300)]
    assert any((one == 0).all() for one in changed)


def test_all_is_drawn_from_the_generator():
    frames, settings = _frames(), RandAugment()
    one, again, other = (rand_augment(frames, settings, False, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    for quiet in (dataclasses.replace(settings, layers=0), dataclasses.replace(settings, probability=0.0)):
        assert np.array_equal(rand_augment(frames, quiet, False, np.random.default_rng(1)), frames)


def test_pictures_that_tell_sides_are_not_turned():
    # A vertical edge stays where it is, or moves, but never slants.
    frames = np.zeros((1, 48, 48, 3), np.uint8)
    frames[:, :, 20:] = 255
    settings = RandAugment(layers=1, probability=1.0, deviation=0.0)
    slanted = {True: 0, False: 0}
    for sided in slanted:
        for seed in range(150):
            changed = rand_augment(frames, settings, sided, np.random.default_rng(seed))[0]
            edge = (changed[4:-4, 2:-2].astype(int).sum(axis=-1) > 380).sum(axis=1)
            inner = edge[(changed[4:-4, 2:-2] != (124, 116, 104)).any(axis=(1, 2))]
            slanted[sided] += bool(np.ptp(inner) > 1)
    assert slanted[True] == 0 and slanted[False] > 15


def test_training_clips_are_changed_and_those_of_an_evaluation_are_not():
    plain = Input(
        sources=(Source("samples:film"),),
        video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
        audio=None,
        text=None,
        masking=Masking(),
        packing=Packing(rows=4, tokens=32, clips=4),
    )
    changed = dataclasses.replace(plain, video=dataclasses.replace(plain.video, rand_augment=RandAugment(), erase=0.5))
    for train in (True, False):
        ours, theirs = Batches(changed, train=train).batch(0), Batches(plain, train=train).batch(0)
        assert np.array_equal(ours.clips.clip_index, theirs.clips.clip_index)
        same = [np.array_equal(a, b) for a, b in zip(ours.content["video"], theirs.content["video"], strict=True)]
        assert not any(same) if train else all(same)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (Video(rand_augment=RandAugment(magnitude=11.0)), "magnitude 0 to 10"),
        (Video(rand_augment=RandAugment(layers=-1)), "layers and deviation must be 0 or more"),
        (Video(rand_augment=RandAugment(probability=1.5)), r"probability=1.5 must be from 0 to 1"),
        (Video(erase=-0.1), r"input.video.erase=-0.1 must be from 0 to 1"),
        (Video(crop_aspect=(2.0, 1.0)), r"input.video.crop_aspect=\(2.0, 1.0\) must be a range"),
    ],
)
def test_a_wrong_setting_stops_at_once(video: Video, message: str):
    with pytest.raises(ValueError, match=message):
        Batches(Input(sources=(Source("samples:film"),), video=video))
