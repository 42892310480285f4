"""The law of the generated shapes: what is uniform, what is independent, what either modality alone can't tell."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter

import numpy as np
import pytest

from mmvideo.datasets.shapes.attributes import (
    COLOURS,
    MELODIES,
    MOTIONS,
    OWN_TIMBRE,
    PERIODS,
    PHASES,
    SHAPES,
    TIMBRES,
    TRAVELLING,
    beep_phase_given_phase,
    draw,
    timbre_given_shape,
)
from mmvideo.datasets.shapes.config import ShapesConfig
from mmvideo.datasets.shapes.grammar import FULL, SHORT, WORDINGS, captions, read


@pytest.fixture(scope="module")
def many():
    return draw(ShapesConfig(seed=5), "train", 20_000)


def assert_rate(hits: int, count: int, rate: float) -> None:
    """Within 4.5 standard errors: a right law fails once in 150,000 draws, and the draws are fixed."""
    assert abs(hits / count - rate) <= 4.5 * np.sqrt(rate * (1 - rate) / count), (hits / count, rate)


@pytest.mark.parametrize(
    "name, values",
    [
        ("shape", SHAPES),
        ("colour", COLOURS),
        ("motion", MOTIONS),
        ("melody", MELODIES),
        ("period", PERIODS),
        ("phase", range(PHASES)),
        ("beep_phase", range(PHASES)),
        ("frames", ShapesConfig().frame_counts),
    ],
)
def test_marginals_are_uniform(many, name, values):
    counts = Counter(getattr(clip, name) for clip in many)
    assert set(counts) == set(values)
    for value in values:
        assert_rate(counts[value], len(many), 1 / len(values))


@pytest.mark.parametrize("label", ["joint", "sync"])
@pytest.mark.parametrize("given", ["motion", "melody", "shape", "timbre", "phase", "beep_phase", "period", "frames"])
def test_joint_and_sync_are_at_chance_given_what_one_modality_shows(many, label, given):
    for value in {getattr(clip, given) for clip in many}:
        rest = [clip for clip in many if getattr(clip, given) == value]
        assert_rate(sum(getattr(clip, label) for clip in rest), len(rest), 0.5)


def test_joint_is_at_chance_exactly_and_told_by_both():
    agree = np.array([[(a in TRAVELLING) == (b in TRAVELLING) for b in MELODIES] for a in MOTIONS])
    assert (agree.mean(0) == 0.5).all() and (agree.mean(1) == 0.5).all()


def test_sync_is_at_chance_exactly_from_the_beeps_alone():
    table = beep_phase_given_phase()
    np.testing.assert_allclose(table.sum(1), 1)
    np.testing.assert_allclose(table.sum(0), 1)
    np.testing.assert_allclose(np.diag(table), 0.5)


def test_motion_and_melody_are_independent(many):
    pairs = Counter((clip.motion, clip.melody) for clip in many)
    for pair in itertools.product(MOTIONS, MELODIES):
        assert_rate(pairs[pair], len(many), 1 / 24)


@pytest.mark.parametrize("tie", [0.0, 0.8, 1.0])
def test_instrument_hangs_on_shape_as_much_as_said(tie):
    clips = draw(ShapesConfig(seed=1, tie=tie), "train", 6000)
    law = timbre_given_shape(tie)
    np.testing.assert_allclose(law.sum(1), 1)
    for row, shape in enumerate(SHAPES):
        heard = [clip.timbre for clip in clips if clip.shape == shape]
        for column, timbre in enumerate(TIMBRES):
            assert_rate(heard.count(timbre), len(heard), law[row, column])
    if tie == 1:
        assert all(clip.timbre == OWN_TIMBRE[clip.shape] for clip in clips)


def test_beeps_are_on_the_bounces_or_far_from_them(many):
    for clip in many[:3000]:
        gaps = np.abs(np.subtract.outer(clip.beeps, clip.bounces))
        assert len(clip.bounces) >= 2 and len(clip.beeps) >= 2
        assert max(*clip.bounces, *clip.beeps) < clip.seconds
        if clip.sync:
            assert clip.beeps == clip.bounces
        else:
            assert gaps.min() >= 0.375 * clip.period - 1e-5 and gaps.min() >= 0.2249


def test_attributes_are_those_of_every_other_machine():
    rows = [clip.as_dict() for clip in draw(ShapesConfig(), "test", 200)]
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    assert digest == "2d5146452260ffdfddbb318973f862d6d1e4790192fc815358505666cfd2fc25"


def test_more_clips_begin_with_the_same_ones_and_splits_differ():
    config = ShapesConfig(seed=2)
    assert draw(config, "train", 50)[:20] == draw(config, "train", 20)
    plain = [(c.shape, c.colour, c.motion, c.phase) for c in draw(config, "train", 20)]
    assert plain != [(c.shape, c.colour, c.motion, c.phase) for c in draw(config, "test", 20)]
    assert plain != [(c.shape, c.colour, c.motion, c.phase) for c in draw(ShapesConfig(seed=3), "train", 20)]


def test_captions_say_what_is_true(many):
    config = ShapesConfig(seed=5, captions=4, short=1)
    templates = set()
    for clip in many[:2000]:
        texts = captions(config, clip)
        truth = {name: getattr(clip, name) for name in WORDINGS}
        assert len(texts) == 4
        assert all(read(text) == truth for text in texts[:-1])
        named = read(texts[-1])
        assert named and named.items() < truth.items()
        templates.add(texts[0].split()[0])
    assert len(set(texts[0] for texts in (captions(config, clip) for clip in many[:500]))) > 450
    assert templates >= {"a", "the", "to"}


def test_every_wording_reads_as_its_value():
    for name, values in WORDINGS.items():
        for value, wordings in values.items():
            for wording in wordings:
                assert read(f"the {wording} is here") == {name: value}
    assert all("{" + name + "}" in template for template in FULL for name in WORDINGS)
    assert not any(all("{" + name + "}" in template for name in WORDINGS) for template in SHORT)


@pytest.mark.parametrize(
    "wrong",
    [{"difficulty": 1.5}, {"size": 31}, {"size": 65}, {"tie": -0.1}, {"longest": 1.0}, {"shortest": 1.0}, {"fps": 4}],
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=f"shapes: {next(iter(wrong))}="):
        ShapesConfig(**wrong)
