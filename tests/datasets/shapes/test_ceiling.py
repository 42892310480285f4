"""The oracle of the generated shapes: closed form, simulation, brute force and docstring say the same."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from mmvideo.datasets.shapes import Shapes, ShapesConfig, ceilings, oracle
from mmvideo.datasets.shapes import ceiling as room
from mmvideo.datasets.shapes.attributes import (
    COLOURS,
    MELODIES,
    MOTIONS,
    OFFBEAT,
    OWN_TIMBRE,
    PERIODS,
    PHASES,
    SHAPES,
    TIMBRES,
)


def drawn(config: ShapesConfig, clips: int) -> list[dict]:
    return [clip.as_dict() for clip in Shapes(config).draw("test", clips)]


@pytest.mark.parametrize("rhythm", [True, False])
def test_closed_form_is_the_mean_over_drawn_sets(rhythm):
    sets = [
        oracle(drawn(config, 60), config, rhythm=rhythm)
        for config in (ShapesConfig(seed=seed, tie=0.7) for seed in range(150))
    ]
    closed = ceilings(ShapesConfig(tie=0.7), 60, rhythm=rhythm)
    assert closed.keys() == sets[0].keys()
    for key, value in closed.items():
        values = np.array([metrics[key] for metrics in sets])
        # The last term covers recalls so near 1 that 150 sets may show no miss at all.
        assert abs(values.mean() - value) < 4.5 * values.std() / np.sqrt(len(sets)) + 2e-4, key


def test_docstring_states_the_closed_form():
    rows = re.findall(r"n = (\d+) +(\S+) (and|to) (\S+) +([\d.]+) / +([\d.]+) / +([\d.]+)", room.__doc__)
    assert len(rows) == 10
    for clips, query, word, gallery, *stated in rows:
        metrics = ceilings(ShapesConfig(), int(clips))
        for a, b in {(query, gallery), (gallery, query)} if word == "and" else {(query, gallery)}:
            assert [f"{100 * metrics[f'{a}_to_{b}/r@{k}']:.1f}" for k in (1, 5, 10)] == stated
    assert ceilings(ShapesConfig(), 2)["audio/video/accuracy"] == pytest.approx(0.2125)


def law(config: ShapesConfig) -> dict[tuple, float]:
    """P(what video and audio show), written down clip by clip from the rules of drawing, not from factors."""
    table: dict[tuple, float] = {}
    spaces = (SHAPES, (True, False), TIMBRES, range(PHASES), (True, False), OFFBEAT, PERIODS, config.frame_counts)
    for shape, owns, other, phase, in_time, offbeat, period, frames in itertools.product(*spaces):
        timbre = OWN_TIMBRE[shape] if owns else other
        beep = phase if in_time else (phase + offbeat) % PHASES
        key = ((shape, phase, period, frames), (timbre, beep, period, frames))
        weight = (config.tie if owns else 1 - config.tie) * 0.5
        table[key] = table.get(key, 0) + weight
    total = sum(table.values())
    return {key: value / total for key, value in table.items()}


def test_ranking_is_that_of_the_brute_force_posterior():
    """Posterior that a candidate is the partner, from P(whole gallery | it is), beside the oracle's ranks."""
    config = ShapesConfig(seed=9, shortest=1.6, longest=1.75, tie=0.6)
    table = law(config)
    video, audio = {}, {}
    for (shown, heard), weight in table.items():
        video[shown] = video.get(shown, 0) + weight
        audio[heard] = audio.get(heard, 0) + weight
    clips = drawn(config, 40)
    shown = [(c["shape"], c["phase"], c["period"], c["frames"]) for c in clips]
    heard = [(c["timbre"], c["beep_phase"], c["period"], c["frames"]) for c in clips]
    above, level = room._rivals(clips, room.pairs(config)["video", "audio"])
    everyone = np.log([audio[sound] for sound in heard])
    for i, query in enumerate(shown):
        chance = np.array([table.get((query, sound), 0) / video[query] for sound in heard])
        with np.errstate(divide="ignore"):
            posterior = np.exp(np.log(chance) + everyone.sum() - everyone - everyone.sum())
        posterior /= posterior.sum()
        assert above[i] == (posterior > posterior[i] * (1 + 1e-9)).sum()
        assert level[i] == np.isclose(posterior, posterior[i], rtol=1e-9, atol=0).sum()


def test_likelihood_alone_ranks_no_better():
    """P(candidate | query) favours the instruments that two shapes own; the oracle must not lose to it."""
    config = ShapesConfig(tie=0.5)
    factors = room.pairs(config, rhythm=False)["video", "audio"]
    tied = factors[0]
    means = []
    for seed in range(60):
        clips = drawn(ShapesConfig(seed=seed, tie=0.5), 50)
        shape = room._codes(clips, tied.query, tied.query_values)
        timbre = room._codes(clips, tied.gallery, tied.gallery_values)
        scores = tied.table[shape][:, timbre].round(9)
        own = np.diag(scores)[:, None]
        naive = np.clip((5 - (scores > own).sum(1)) / (scores == own).sum(1), 0, 1).mean()
        best = oracle(clips, config, rhythm=False)["video_to_audio/r@5"]
        means.append((best, naive))
    best, naive = np.array(means).T
    assert best.mean() > naive.mean() - 2 * (best - naive).std() / np.sqrt(len(means))


def test_a_set_where_everything_is_known_by_hand():
    """Four clips: two share shape, colour and motion; all differ in melody."""
    config = ShapesConfig()
    clips = drawn(config, 4)
    for clip, colour, melody in zip(clips, ("red", "red", "blue", "green"), MELODIES, strict=True):
        clip.update(shape="star", colour=colour, motion=MOTIONS[0], melody=melody, timbre="violin")
    assert set(COLOURS) >= {"red", "blue", "green"}
    metrics = oracle(clips, config)
    assert metrics["text_to_video/r@1"] == metrics["video_to_text/r@1"] == 0.75
    assert metrics["text_to_video/r@5"] == 1
    assert metrics["text_to_audio/r@1"] == metrics["text_to_video+audio/r@1"] == 1
    assert metrics["audio/video/accuracy"] == 0.25
    assert oracle(clips, config, rhythm=False)["video_to_audio/r@1"] == 0.25


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="at least one clip"):
        oracle([], ShapesConfig())
    clips = drawn(ShapesConfig(), 3)
    clips[1]["shape"] = "blob"
    with pytest.raises(ValueError, match="clip 1 has no shape"):
        oracle(clips, ShapesConfig())
