"""Which checkpoints stay: the newest, every so many, and the best, whenever the run stops."""

from __future__ import annotations

import json

import pytest
from test_resume import stop_at
from training_toy import ToyBatches, quick, toy_train

from mmvideo.records.lines import read_lines
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints

SETTINGS = {"steps": 9, "save_every": 2, "keep": 1, "evaluate_every": 3, "best": "probe/score"}


def scores(values, asked=None, fail_at=None):
    """An evaluation that finds given scores by step, notes its steps, and may fail at one."""

    def evaluate(learner, step):
        if asked is not None:
            asked.append(step)
        if step == fail_at:
            raise KeyError("out of luck")
        return {"probe/score": values[step], "probe/clips": 3}

    return evaluate


@pytest.mark.parametrize(
    ("mode", "values", "best"),
    [
        ("max", {3: 0.9, 6: 0.5, 9: 0.7}, 3),
        ("min", {3: 0.9, 6: 0.5, 9: 0.7}, 6),
        ("max", {3: None, 6: float("nan"), 9: 0.1}, 9),
    ],
)
def test_the_best_by_a_metric_stays_beside_the_newest(tmp_path, mode, values, best):
    config = quick(**SETTINGS, best_mode=mode, keep_every=8)
    toy_train(tmp_path, config, ToyBatches(), evaluate=scores(values))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.steps() == sorted({best, 8, 9}) and checkpoints.best == best
    assert checkpoints.newest(lambda step: step, "best") == best
    told = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert len(told.pop("sha256")) == 64
    assert told == {
        "step": best,
        "metric": "probe/score",
        "mode": mode,
        "value": values[best],
    }


def test_an_evaluation_that_was_cut_off_is_made_up_for(tmp_path):
    """A stop at the very step of an evaluation, and a failure within one: the mark is that of a whole run."""
    values, asked = {3: 0.9, 6: 0.5, 9: 0.7}, []
    config = quick(**SETTINGS)
    toy_train(tmp_path, config, ToyBatches(), evaluate=scores(values, asked), on_progress=stop_at(2))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest == 3 and checkpoints.best is None and asked == []
    with pytest.raises(CheckpointError, match="no checkpoint .* is marked as the best"):
        checkpoints.newest(lambda step: step, "best")
    with pytest.raises(KeyError):
        toy_train(tmp_path, config, ToyBatches(), evaluate=scores(values, asked, fail_at=6))
    assert asked == [3, 6] and checkpoints.best == 3
    for _ in range(2):
        toy_train(tmp_path, config, ToyBatches(), evaluate=scores(values, asked))
    assert asked == [3, 6, 6, 9, 9], "a finished run is asked once more, for evaluations that came later"
    assert checkpoints.best == 3 and checkpoints.steps() == [3, 9]
    told = [line["step"] for line in read_lines(tmp_path / "metrics.jsonl") if "eval/probe/score" in line]
    assert told == [3, 6, 9]


def test_a_damaged_best_is_marked_no_longer(tmp_path):
    config = quick(**SETTINGS)
    toy_train(tmp_path, config, ToyBatches(), evaluate=scores({3: 0.5, 6: 0.7, 9: 0.9}))
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.best == 9
    (tmp_path / "checkpoints" / "9").rename(tmp_path / "checkpoints" / "damaged-9")
    assert checkpoints.best is None


def test_a_metric_that_is_not_measured_is_told_and_can_be_put_right(tmp_path):
    wrong = quick(**{**SETTINGS, "best": "probe/scores"})
    with pytest.raises(ValueError, match=r"training\.best 'probe/scores' is no metric .* such as probe/score"):
        toy_train(tmp_path, wrong, ToyBatches(), evaluate=scores({3: 0.9}))
    values = {3: 0.9, 6: 0.5, 9: 0.7}
    toy_train(tmp_path, quick(**SETTINGS), ToyBatches(), evaluate=scores(values))
    assert Checkpoints(tmp_path / "checkpoints").best == 3


def test_settings_that_keep_nothing_are_refused():
    with pytest.raises(ValueError, match="must be a multiple of training.save_every 500"):
        quick(keep_every=700)
    with pytest.raises(ValueError, match="training.keep 0 must be 1 or more"):
        quick(keep=0)
