"""Baselines as settings of a run: JSON, flags, and training by the real trainer."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from mmvideo.cli.terminal.usage_errors import UsageError, parse_fields
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import ConfigError, Experiment, from_json, load_experiment, to_json
from mmvideo.experiment.run import run
from mmvideo.experiment.weights.load import load
from mmvideo.input.config import Masking
from mmvideo.model.config import VideoEncoder
from mmvideo.model.kinds import CnnLstm, FrameLstm, Model
from mmvideo.objectives import Classification, Contrastive

SIZES = dict(channels=(4, 8), width=16, word=16, dense=(16, 12), compute="float32")
MODELS = [Model(size="tiny"), CnnLstm(**SIZES), FrameLstm(**SIZES), Model(video_encoder=VideoEncoder(2))]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.kind)
def test_every_kind_survives_json_and_takes_flags(model):
    experiment = Experiment("x", model=model)
    assert from_json(to_json(experiment)) == experiment
    flagged = parse_fields(experiment, ["--model.compute", "bfloat16"], "mmvideo train x")
    assert flagged.model == dataclasses.replace(model, compute="bfloat16")


def test_a_video_encoder_takes_flags():
    flags = ["--model.video-encoder.depth", "3", "--model.video-encoder.pooling", "mean"]
    parsed = parse_fields(Experiment("x", model=MODELS[3]), flags, "mmvideo train x")
    assert parsed.model.video_encoder == VideoEncoder(3, "mean")


def test_flags_of_another_kind_are_refused():
    parsed = parse_fields(Experiment("x", model=MODELS[1]), ["--model.dense", "8", "4"], "mmvideo train x")
    assert parsed.model.dense == (8, 4)
    with pytest.raises(UsageError, match="no field 'model.heads'"):
        parse_fields(Experiment("x", model=MODELS[1]), ["--model.heads", "3"], "mmvideo train x")


def test_a_wrong_kind_or_field_is_named():
    raw = json.loads(to_json(Experiment("x", model=MODELS[2])))
    raw["model"]["width"] = "wide"
    with pytest.raises(ConfigError, match="model.frame_lstm.width"):
        from_json(json.dumps(raw))
    raw["model"] = {"kind": "cnn"}
    with pytest.raises(ConfigError, match="'transformer', 'cnn_lstm', 'frame_lstm'"):
        from_json(json.dumps(raw))


@pytest.mark.slow(reason="a run with its report")
def test_a_baseline_trains_evaluates_and_loads(tiny, tmp_path):
    experiment = dataclasses.replace(
        tiny,
        model=MODELS[2],
        input=dataclasses.replace(tiny.input, masking=Masking()),
        objectives={
            "contrastive": Contrastive(pairs=("video-text", "video-audio"), width=16),
            "visual": Classification("visual", 8, ("video",)),
        },
        evaluation=Evaluation(tasks=("retrieval",), gallery=1),
    )
    assert run(experiment, tmp_path) == 0
    assert load_experiment(tmp_path) == experiment
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == 4 and np.isfinite(losses).all()
    assert "video_to_text/r@1" in json.loads((tmp_path / "evals" / "retrieval.json").read_text())["metrics"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "frame_lstm" in page
    found = load(tmp_path).embed(texts=["a red circle climbs", "a blue square falls"])
    np.testing.assert_allclose(np.linalg.norm(found["text"], axis=1), 1, atol=1e-5)
