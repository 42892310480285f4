"""Objectives on clips whose right answer is known: what can be told is learned, and what can't be isn't."""

import dataclasses

import numpy as np
import pytest
from synthetic_streams import SPEC, TINY, make_stream, part
from teaching import teach

from mmvideo.model.config import Fusion
from mmvideo.objectives import Classification, Contrastive, MaskedPatches, MaskedText

pytestmark = pytest.mark.slow(reason="learns for a hundred steps")

SHALLOW = dataclasses.replace(TINY, depth=2, fusion=Fusion("mid", 1))
BLIND = dataclasses.replace(SHALLOW, fusion=Fusion("late"))


def draws(number):
    return np.random.default_rng((7, number + 1))


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
def test_contrastive_finds_the_partner(form):
    """Sixteen prototypes of picture, sound and words; each clip is one, with fresh noise."""
    fixed = np.random.default_rng(0)
    pictures = fixed.integers(40, 215, (16, 4, SPEC.video.size))
    sounds = fixed.normal(size=(16, 4, SPEC.audio.size))
    words = fixed.integers(5, 40, (16, 4)).astype(np.int32)

    def clip(kind, draw):
        picture = np.clip(pictures[kind] + draw.normal(0, 20, pictures[kind].shape), 0, 255).astype(np.uint8)
        sound = (sounds[kind] + draw.normal(0, 0.5, sounds[kind].shape)).astype(np.float32)
        return {"video": part(picture, SPEC.video), "audio": part(sound, SPEC.audio), "text": part(words[kind], None)}

    def batch(number):
        draw = draws(number)
        return make_stream([clip(kind, draw) for kind in draw.permutation(16)], rows=4, slots=4, hidden=())

    pairs = ("video-text", "audio-text", "video-audio", "video+audio-text")
    before, after = teach(TINY, SPEC, {"it": Contrastive(pairs=pairs, form=form, width=32)}, batch, 80)
    for pair in pairs:
        assert before[f"it/{pair}/accuracy"] < 0.5, pair
        assert after[f"it/{pair}/accuracy"] == 1.0, pair
        assert after[f"it/{pair}/loss"] < 0.5 * before[f"it/{pair}/loss"], pair


def test_masked_patches_of_a_moving_slope_beat_their_mean():
    """Brightness that rises in some direction and moves, a spectrogram that rises in another.

    The direction is any, so a patch that is not seen has no structure to bet on; the seen ones tell it.
    """
    t, y, x = np.meshgrid(np.arange(6), np.arange(8), np.arange(8), indexing="ij")
    step, mel = np.meshgrid(np.arange(16), np.arange(16), indexing="ij")

    def clip(draw):
        way, speed, turn = draw.uniform(0, 2 * np.pi), draw.uniform(-5, 5), draw.uniform(0, 2 * np.pi)
        slope = 127 + 15 * (np.cos(way) * (x - 3.5) + np.sin(way) * (y - 3.5)) + speed * (t - 2.5)
        cut = slope.reshape(3, 2, 2, 4, 2, 4).transpose(0, 2, 4, 1, 3, 5).reshape(12, -1, 1)
        picture = np.repeat(cut, 3, axis=-1).reshape(12, -1).astype(np.uint8)
        tone = 0.2 * (np.cos(turn) * (step - 7.5) + np.sin(turn) * (mel - 7.5))
        sound = tone.reshape(4, 4, 2, 8).transpose(0, 2, 1, 3).reshape(8, -1).astype(np.float32)
        return {
            "video": part(picture, SPEC.video, draw.permutation(12)[:6]),
            "audio": part(sound, SPEC.audio, draw.permutation(8)[:4]),
        }

    def batch(number):
        draw = draws(number)
        return make_stream([clip(draw) for _ in range(16)], rows=4, slots=4, hidden=("video", "audio"))

    before, after = teach(SHALLOW, SPEC, {"it": MaskedPatches()}, batch, 120, rate=6e-3)
    for name in ("video", "audio"):
        assert 0.9 < after[f"it/{name}/mean_loss"] < 1.0
        assert before[f"it/{name}/loss"] > after[f"it/{name}/mean_loss"]
        assert after[f"it/{name}/loss"] < 0.5 * after[f"it/{name}/mean_loss"]


@pytest.mark.parametrize("model, low, high", [(SHALLOW, 0.9, 1.0), (BLIND, 0.0, 0.35)], ids=["sees", "blind"])
def test_masked_text_is_told_by_the_picture(model, low, high):
    """The hidden word names one of eight colours: only who sees the picture can know it."""
    colours = np.random.default_rng(1).integers(0, 256, (8, 3))

    def clip(draw):
        colour = draw.integers(8)
        picture = np.tile(colours[colour], (4, SPEC.video.size // 3)).astype(np.uint8)
        words = np.array([*draw.integers(20, 40, 2), 8 + colour, 1], np.int32)
        return {"video": part(picture, SPEC.video), "text": part(words, None, [2])}

    def batch(number):
        draw = draws(number)
        return make_stream([clip(draw) for _ in range(64)], rows=8, slots=8, hidden=("text",))

    _, after = teach(model, SPEC, {"it": MaskedText()}, batch, 80)
    assert low <= after["it/accuracy"] <= high


@pytest.mark.parametrize("model, low, high", [(SHALLOW, 0.95, 1.0), (BLIND, 0.25, 0.75)], ids=["fused", "apart"])
def test_a_joint_label_needs_fusion(model, low, high):
    """Whether picture and sound agree, told from the tokens of the picture: neither tells it alone."""

    def clip(bright, loud, draw):
        picture = np.clip(draw.normal(80 + 100 * bright, 10, (4, SPEC.video.size)), 0, 255).astype(np.uint8)
        sound = draw.normal(2.0 * loud - 1, 0.3, (4, SPEC.audio.size)).astype(np.float32)
        return {"video": part(picture, SPEC.video), "audio": part(sound, SPEC.audio)}

    def batch(number):
        draw = draws(number)
        bright, loud = draw.integers(0, 2, (2, 64))
        clips = [clip(b, s, draw) for b, s in zip(bright, loud, strict=True)]
        return make_stream(clips, rows=8, slots=8, hidden=(), labels={"agree": (bright == loud).astype(np.int32)})

    objective = Classification("agree", 2, modalities=("video",), after_fusion=True)
    _, after = teach(model, SPEC, {"it": objective}, batch, 60)
    assert low <= after["it/accuracy"] <= high
