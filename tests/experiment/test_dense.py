"""Long videos: moments of a query in sliding views, and what happens when as one text, by the real trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.shapes import ScenesConfig, write_scenes
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.run import run
from mmvideo.input.config import Input, Packing, Source, Text, Video, Views
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Captioning, Moments
from mmvideo.training.config import Optimizer, Training

MODEL = dict(depth=2, width=32, heads=2, feed_forward=64, compute="float32")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, ScenesConfig(queries=2), {"train": 4, "test": 3}, processes=1)
    return folder


def experiment(corpus: Path, **parts) -> Experiment:
    training = Training(steps=2, optimizer=Optimizer(warmup=0), log_every=1, save_every=2, tensorboard=False)
    return Experiment(name="long", training=training, **parts)


def measured(workdir: Path, name: str) -> dict[str, float]:
    return json.loads((workdir / "evals" / f"{name}.json").read_text())["metrics"]


@pytest.mark.slow(reason="a run on long videos with its report")
def test_moments_are_found_in_sliding_views(videos, tmp_path):
    build(videos, tmp_path / "corpus", processes=1, tokenizer_vocabulary=80, progress=False)
    tiny = experiment(
        tmp_path,
        input=Input(
            sources=(Source(str(tmp_path / "corpus")),),
            video=Video(fps=2.0, frames=16, size=32, tubelet=(2, 16, 16)),
            audio=None,
            text=Text(length=24),
            packing=Packing(rows=8, tokens=64, clips=1),
            threads=1,
        ),
        model=Model(**MODEL, fusion=Fusion("early")),
        objectives={"moments": Moments()},
        evaluation=Evaluation(views=Views(stride=4.0), losses=False, gallery=1),
    )
    assert run(tiny, tmp_path / "run") == 0
    found = measured(tmp_path / "run", "moments")
    assert found["queries"] > 0 and {"r1@0.5", "mAP", "mIoU"} <= found.keys()
    assert "highlight/very_good/hit1" in found
    record = json.loads((tmp_path / "run" / "evals" / "moments.json").read_text())
    assert "to" in str(record["protocol"]["views"]) and record["clips"] == found["queries"]
    lines = (tmp_path / "run" / "evals" / "moments.predictions.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        assert all(0 <= start < end <= 30 for start, end, _ in line["scores"]), "views are put in their place"
    assert any(start > 8 for line in lines for start, _, _ in json.loads(line)["scores"]), "also behind the first view"


@pytest.mark.slow(reason="a run on long videos with its report")
def test_events_are_written_and_scored(videos, tmp_path):
    build(
        videos / "dense.jsonl", tmp_path / "corpus", processes=1, tokenizer_vocabulary=200, time_tokens=100,
        progress=False,
    )  # fmt: skip
    tiny = experiment(
        tmp_path,
        input=Input(
            sources=(Source(str(tmp_path / "corpus")),),
            video=Video(frames=8, size=32, tubelet=(2, 16, 16), sampling="uniform"),
            audio=None,
            text=Text(length=64, begin=True),
            packing=Packing(rows=8, tokens=96, clips=1),
            threads=1,
        ),
        model=Model(**MODEL, fusion=Fusion("mid", 1, text="causal")),
        objectives={"captioning": Captioning()},
        evaluation=Evaluation(losses=False, gallery=1),
    )
    assert run(tiny, tmp_path / "run") == 0
    found = measured(tmp_path / "run", "dense_captioning")
    assert found["clips"] == 3 and {"soda_rouge_l", "event_f1", "dense_cider_d"} <= found.keys()
    assert not (tmp_path / "run" / "evals" / "captioning.json").exists()
    assert "Dense" in (tmp_path / "run" / "report.html").read_text()
