"""Questions about shapes, answered by the real trainer from clip and question."""

from __future__ import annotations

import json

import pytest

from mmvideo.cli.main import main
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.run import run
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Captioning
from mmvideo.training.config import Optimizer, Training


@pytest.mark.slow(reason="a corpus and a run with its report")
def test_questions_are_answered_and_scored(tmp_path):
    clips, corpus = str(tmp_path / "clips"), str(tmp_path / "corpus")
    shapes = ["--train", "8", "--test", "4", "--size", "32", "--questions", "2", "--processes", "1"]
    assert main(["data", "shapes", clips, *shapes]) == 0
    assert main(["data", "build", f"{clips}/questions.jsonl", corpus, "--tokenizer-vocabulary", "90"]) == 0
    experiment = Experiment(
        name="questions",
        input=Input(
            sources=(Source(corpus),),
            video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
            text=Text(length=24, begin=True),
            packing=Packing(rows=8, tokens=64, clips=1),
            threads=1,
        ),
        model=Model(
            depth=2, width=32, heads=2, feed_forward=64, compute="float32", fusion=Fusion("mid", 1, text="causal")
        ),
        objectives={"answering": Captioning(answers=True)},
        training=Training(steps=2, optimizer=Optimizer(warmup=0), log_every=1, save_every=2, tensorboard=False),
        evaluation=Evaluation(losses=False, gallery=1),
    )
    assert run(experiment, tmp_path / "run") == 0
    found = json.loads((tmp_path / "run" / "evals" / "question_answering.json").read_text())
    assert found["metrics"]["clips"] == 8 and 0 <= found["metrics"]["exact_match"] <= 1
    lines = (tmp_path / "run" / "evals" / "question_answering.predictions.jsonl").read_text().splitlines()
    for row in map(json.loads, lines):
        assert row["question"].endswith("?") and row["truth"][0] and "<answer>" not in row["answer"]
    assert "uestion" in (tmp_path / "run" / "report.html").read_text()
