"""Moments are found by what the words ask for: the colour of a word comes back where the video shows it."""

import dataclasses

import numpy as np
import pytest
from synthetic_streams import TINY, make_stream, part
from teaching import teach

from mmvideo.model.config import Fusion
from mmvideo.objectives import Moments
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec

pytestmark = pytest.mark.slow(reason="learns for a hundred steps")

STEPS, SECONDS, COLOURS = 12, 0.5, 4
SPEC = StreamSpec(video=PatchSpec((1, 2, 2, 3), (STEPS, 1, 1), SECONDS), text=TextSpec(40, 8, 4))
MODEL = dataclasses.replace(TINY, depth=2, fusion=Fusion("early"))
PALETTE = np.array([[230, 30, 30], [30, 230, 30], [30, 30, 230], [220, 220, 30]])


def clip(draw):
    """A video of three scenes of different colours, and the word of one: its tokens and its moment."""
    cuts = [0, *sorted(draw.choice(np.arange(2, STEPS - 1), 2, replace=False)), STEPS]
    colours = draw.permutation(COLOURS)[:3]
    shown = np.repeat(colours, np.diff(cuts))
    pixels = np.tile(PALETTE[shown], (1, SPEC.video.size // 3))
    pixels = np.clip(pixels + draw.normal(0, 15, pixels.shape), 0, 255).astype(np.uint8)
    asked = draw.integers(3)
    words = np.array([5, 10 + colours[asked]], np.int32)
    moment = np.array([cuts[asked], cuts[asked + 1]]) * SECONDS
    return {"video": part(pixels, SPEC.video), "text": part(words, None)}, moment, shown == colours[asked]


def batch(number):
    draw = np.random.default_rng((3, number + 1))
    clips, moments, shown = zip(*(clip(draw) for _ in range(32)), strict=True)
    stream = make_stream(clips, rows=8, slots=4, spec=SPEC, hidden=())
    moments, saliency = np.stack(moments).reshape(8, 4, 1, 2), np.stack(shown).reshape(8, 4, STEPS)
    return dataclasses.replace(
        stream,
        clips=dataclasses.replace(
            stream.clips, moments=moments.astype(np.float32), saliency=saliency.astype(np.float32)
        ),
    )


def test_moments_are_found_by_the_word():
    """One of three scenes is asked for: who doesn't know which finds it in a third of the clips at best."""
    before, after = teach(MODEL, SPEC, {"it": Moments()}, batch, 120)
    assert before["it/recall"] < 0.4 and before["it/whole_recall"] < 0.4
    assert after["it/recall"] > 0.9
    assert after["it/clips"] == after["it/salient_clips"] == 32
    for name in ("foreground", "overlap", "saliency", "ranking"):
        assert after[f"it/{name}_loss"] < 0.5 * before[f"it/{name}_loss"], name
