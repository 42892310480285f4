"""Runs whose clips can't be read: they stop with the reason, and keep no checkpoint of nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from training_toy import ROWS, ToyBatches, toy_train

from mmvideo.input.planning.epoch_plan import Planned
from mmvideo.records.lines import read_lines
from mmvideo.stream import PADDING
from mmvideo.training.checkpoint.checkpoints import Checkpoints
from mmvideo.training.config import Optimizer, Training
from mmvideo.training.unreadable_clips import UnreadableError


@dataclasses.dataclass
class LostBatches(ToyBatches):
    """`lost` gives how many clips of a step can't be read; an epoch has `per_epoch` steps."""

    lost: dict[int, int] = dataclasses.field(default_factory=dict)
    per_epoch: int = 4

    def batch(self, step):
        stream = super().batch(step)
        count = self.lost.get(step, 0)
        number = np.where(np.arange(self.rows)[:, None] < count, PADDING, stream.clips.clip_index)
        if count:
            self.skipped += [(f"clip {step}.{place}", "it is damaged") for place in range(count)]
        return dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, clip_index=number))

    def planned(self, step):
        return Planned(step // self.per_epoch, self.rows, self.per_epoch * self.rows)


def quick(**fields) -> Training:
    return Training(
        **{
            "steps": 8,
            "save_every": 1,
            "log_every": 1,
            "tensorboard": False,
            "optimizer": Optimizer(warmup=1),
            **fields,
        }
    )


def test_a_step_of_which_nothing_can_be_read_stops_the_run(tmp_path):
    with pytest.raises(
        UnreadableError, match=rf"step 3: none of its {ROWS} clips could be read \(clip \d.7: it is damaged\); nothing"
    ):
        toy_train(tmp_path, quick(), LostBatches(lost={2: ROWS, 3: ROWS}))
    assert Checkpoints(tmp_path / "checkpoints").latest == 2
    assert ("clip 2.0", "it is damaged") in [
        (one["id"], one["reason"]) for one in read_lines(tmp_path / "skipped.jsonl")
    ]
    # Once they can be read, the run goes on.
    assert int(toy_train(tmp_path, quick(), LostBatches()).step) == 8


def test_most_of_an_epoch_stops_the_run_and_half_of_it_does_not(tmp_path):
    half = dict.fromkeys(range(8), ROWS // 2)
    assert int(toy_train(tmp_path / "half", quick(), LostBatches(lost=half)).step) == 8
    most = {4: ROWS // 2, 5: ROWS // 2, 6: ROWS // 2, 7: ROWS // 2 + 1}
    with pytest.raises(UnreadableError, match=r"step 8: 17 of the 32 clips of epoch 1 could not be read"):
        toy_train(tmp_path / "most", quick(), LostBatches(lost=most))


def test_a_step_of_one_clip_alone_does_not(tmp_path):
    assert int(toy_train(tmp_path, quick(), LostBatches(rows=1, lost={2: 1})).step) == 8


def test_a_lost_clip_does_not_stop_a_run(tmp_path):
    toy_train(tmp_path, quick(), LostBatches(lost={2: ROWS - 1}))
    assert read_lines(tmp_path / "metrics.jsonl")[-1]["unreadable_clips"] == ROWS - 1
