"""Pictures and sound of the generated shapes hold what the attributes say, measured from the pixels and samples."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvideo.datasets.shapes import Shapes, ShapesConfig
from mmvideo.datasets.shapes.attributes import COLOURS, MELODIES, MOTIONS, SHAPES, TIMBRES
from mmvideo.datasets.shapes.motion import path
from mmvideo.datasets.shapes.picture import RGB, coverage
from mmvideo.datasets.shapes.sound import BEEP_HERTZ, play

PLAIN = Shapes(ShapesConfig(seed=4, difficulty=0.0))
EASY = Shapes(ShapesConfig(seed=4, difficulty=0.2))
HARD = Shapes(ShapesConfig(seed=4, difficulty=1.0))


@pytest.mark.parametrize("motion", MOTIONS)
def test_motion_turns_round_at_every_bounce_and_only_there(motion):
    """Sampled a thousand times a second, the speed along the blow changes sign at the bounces (or a hop's top)."""
    for clip in PLAIN.draw("train", 20):
        fine = dataclasses.replace(clip, motion=motion, fps=1000, frames=round(clip.seconds * 1000))
        moving = path(fine, 0.15, np.random.default_rng(0))
        way = {"slides": moving.x, "swells": moving.width}.get(motion, moving.y)
        jumps = np.abs(np.diff(way, 2))
        found = 1 + np.flatnonzero(jumps > 0.3 * jumps.max())
        expected = np.array([time * 1000 for time in fine.bounces if 2 < time * 1000 < fine.frames - 2])
        assert all(np.abs(expected - place).min() <= 1.5 for place in found)
        assert all(np.abs(found - place).min() <= 1.5 for place in expected)


@pytest.mark.parametrize("motion, direction", [("climbs", -1), ("descends", 1)])
def test_climbing_goes_up_and_descending_down(motion, direction):
    for clip in PLAIN.draw("train", 20):
        moving = path(dataclasses.replace(clip, motion=motion), 0.15, np.random.default_rng(1))
        assert direction * (moving.y[-4:].mean() - moving.y[:4].mean()) > 0.2


def test_shapes_stay_in_the_picture():
    for clip in HARD.draw("train", 200):
        moving = path(clip, 0.15, np.random.default_rng(clip.index))
        assert min(moving.x.min(), moving.y.min()) > 0.08 and max(moving.x.max(), moving.y.max()) < 0.92


@pytest.mark.parametrize("shape, area", [("circle", np.pi), ("square", 1.76**2), ("ring", np.pi * (1.08**2 - 0.56**2))])
def test_coverage_integrates_to_the_area_of_the_shape(shape, area):
    for radius in (0.1, 0.21):
        covered = coverage(shape, 64, [0.47], [0.52], [radius], [radius], angle=0.3)
        assert covered.sum() / 64**2 == pytest.approx(area * radius**2, rel=0.01)


def test_shapes_look_different():
    masks = np.stack([coverage(shape, 64, [0.5], [0.5], [0.15], [0.15])[0] for shape in SHAPES])
    for i in range(len(SHAPES)):
        for j in range(i):
            overlap = np.minimum(masks[i], masks[j]).sum() / np.maximum(masks[i], masks[j]).sum()
            assert overlap < 0.85, (SHAPES[i], SHAPES[j])


def moving_pixels(frames: np.ndarray) -> np.ndarray:
    """The colours of pixels that are bright, as no background is, and not what their place mostly shows."""
    away = np.abs(frames - np.median(frames, 0)).sum(-1)
    return frames[(away > 100) & (frames.max(-1) > 170)]


def test_colour_and_place_can_be_seen_in_the_pixels():
    """A clip's colour is the one nearest to its moving pixels."""
    table = np.array([RGB[colour] for colour in COLOURS])
    right = []
    for clip in EASY.draw("train", 60):
        pixels = moving_pixels(EASY.frames(clip).astype(np.float64))
        votes = np.linalg.norm(pixels[:, None] - table, axis=-1).argmin(1)
        right.append(COLOURS[np.bincount(votes, minlength=len(COLOURS)).argmax()] == clip.colour)
    assert np.mean(right) > 0.95


def test_pictures_have_the_size_the_length_and_the_noise_that_the_settings_say():
    for shapes, least, most in ((PLAIN, 0.0, 0.01), (HARD, 15.0, 45.0)):
        clip = shapes.draw("train", 3)[2]
        frames = shapes.frames(clip)
        assert frames.shape == (clip.frames, 64, 64, 3) and frames.dtype == np.uint8
        corner = frames[:, 60:, 60:].astype(np.float64)
        assert least <= np.median(corner.std(0)) <= most


def test_a_clip_is_the_same_again_and_unlike_the_next():
    first, second = EASY.draw("train", 2)
    again = Shapes(ShapesConfig(seed=4, difficulty=0.2))
    np.testing.assert_array_equal(EASY.frames(first), again.frames(first))
    np.testing.assert_array_equal(EASY.samples(first), again.samples(first))
    assert not np.array_equal(EASY.frames(first)[0], EASY.frames(second)[0])


def band(samples: np.ndarray, low: float, high: float, rate: int = 16000) -> np.ndarray:
    """The part of a sound between two frequencies."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    return np.fft.irfft(np.where((hertz >= low) & (hertz < high), spectrum, 0), len(samples))


def onsets(samples: np.ndarray, rate: int = 16000) -> np.ndarray:
    """Times (s) at which the beep's band rises steeply."""
    loudness = band(samples, BEEP_HERTZ - 500, BEEP_HERTZ + 500) ** 2
    steps = loudness[: len(loudness) // 80 * 80].reshape(-1, 80).mean(1)
    loud = steps > 0.25 * steps.max()
    starts = np.flatnonzero(loud & ~np.concatenate(([False], loud[:-1])))
    # A beep that noise breaks in two is one beep: they are never closer than half a second.
    return starts[np.diff(starts, prepend=-100) > 20] * 80 / rate


@pytest.mark.parametrize("shapes", [EASY, HARD], ids=["easy", "hard"])
def test_beeps_are_heard_when_the_attributes_say(shapes):
    for clip in shapes.draw("train", 40):
        heard = onsets(shapes.samples(clip))
        expected = np.array([time for time in clip.beeps if time < clip.seconds - 0.02])
        assert np.abs(heard[:, None] - np.array(clip.beeps)).min(1).max() < 0.011
        assert np.abs(expected[:, None] - heard).min(1).max() < 0.011


def test_sound_is_as_long_as_the_pictures_and_never_clips():
    for clip in HARD.draw("train", 20):
        samples = HARD.samples(clip)
        assert samples.dtype == np.float32
        assert len(samples) == round(clip.seconds * 16000)
        assert np.abs(samples).max() <= 0.96


@pytest.mark.parametrize("timbre", TIMBRES)
@pytest.mark.parametrize("melody", MELODIES)
def test_melody_moves_as_named_below_the_beeps(melody, timbre):
    rate, samples = 16000, 32000
    sound = play(melody, timbre, samples, rate, 0.2, np.random.default_rng(3))
    assert (band(sound, 4500, 8000) ** 2).mean() < 1e-3 * (sound**2).mean()
    middle = [centroid(sound[: samples // 4]), centroid(sound[-samples // 4 :])]
    change = np.log2(middle[1] / middle[0])
    if melody in ("rising", "falling"):
        assert change > 0.3 if melody == "rising" else change < -0.3
    else:
        assert abs(change) < 0.3
    steps = (sound.reshape(-1, 160) ** 2).mean(1)
    silent = (steps < 1e-4 * steps.max()).mean()
    assert silent > 0.25 if melody == "pulsing" else silent < 0.12


@pytest.mark.parametrize("timbre", TIMBRES)
@pytest.mark.parametrize("melody", MELODIES)
def test_every_second_of_a_long_clip_is_heard(melody, timbre):
    for seed in range(4):
        seconds = play(melody, timbre, 20 * 16000, 16000, 0.0, np.random.default_rng(seed)).reshape(20, -1)
        loudness = np.sqrt((seconds**2).mean(axis=1))
        # A bell that is struck once fades over all of it.
        assert loudness.min() > 0.02 * loudness.max()


def centroid(sound: np.ndarray) -> float:
    """The frequency (Hz) of the lowest strong partial."""
    power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    hertz = np.fft.rfftfreq(len(sound), 1 / 16000)
    return float(hertz[np.flatnonzero(power > 0.1 * power.max())[0]])
