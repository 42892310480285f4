"""Losses on held-out clips: the mean is over tokens and clips that counted, however they fall into batches."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.held_out_losses import LossEvaluator, pooled
from mmvideo.input.config import Packing
from mmvideo.input.pipeline import Batches


def test_counts_are_summed_and_losses_weighed_by_them():
    found = pooled(
        [
            {"a/video/loss": 1.0, "a/video/tokens": 3.0, "a/loss": 1.0, "a/clips": 1.0, "loss": 2.0},
            {"a/video/loss": 5.0, "a/video/tokens": 1.0, "a/loss": 4.0, "a/clips": 2.0, "loss": 4.0},
        ]
    )
    assert found == {"a/video/loss": 2.0, "a/video/tokens": 4.0, "a/loss": 3.0, "a/clips": 3.0, "loss": 3.0}


def test_what_never_counted_is_left_out():
    assert pooled([{"a/loss": 0.0, "a/tokens": 0.0}]) == {"a/tokens": 0.0}


def test_the_size_of_batches_changes_no_masked_loss(learner, config):
    def measured(rows: int) -> dict[str, float]:
        packing = Packing(rows=rows, tokens=80, clips=3)
        batches = Batches(dataclasses.replace(config, packing=packing), masked=True, train=False)
        result = LossEvaluator(batches, "shapes", "test").run(EvaluatedModel(learner))
        assert result.clips == 9
        return result.metrics

    one, four = measured(1), measured(4)
    for name in ("masked_patches/video", "masked_patches/audio"):
        assert one[f"{name}/tokens"] == four[f"{name}/tokens"] > 0
        for kind in ("loss", "mean_loss"):
            assert one[f"{name}/{kind}"] == pytest.approx(four[f"{name}/{kind}"], rel=1e-5)


def test_clips_of_which_none_can_be_read_have_no_losses_and_no_embeddings(learner, config, corpus, tmp_path):
    rotten = shutil.copytree(corpus, tmp_path / "rotten")
    for shard in rotten.glob("*-test.array_record-*"):
        content = shard.read_bytes()
        # Every record is hit, and the size stays.
        shard.write_bytes(bytes(byte ^ (place % 128 == 64) for place, byte in enumerate(content)))
    sources = (dataclasses.replace(config.sources[0], path=str(rotten)),)
    batches = Batches(dataclasses.replace(config, sources=sources), masked=True, train=False)
    assert sum(_unread(batches, number) for number in range(9)) == 9
    said = r"the corpus gave no clip to evaluate \(9 were skipped, such as .*its record cannot be read"
    with pytest.raises(ValueError, match=said):
        LossEvaluator(batches, "shapes", "test").run(EvaluatedModel(learner))
    with pytest.raises(ValueError, match=said):
        EvaluatedModel(learner).embeddings(batches)


def _unread(batches, number) -> bool:
    try:
        batches.corpus.record(number)
    except ValueError:
        return True
    return False
