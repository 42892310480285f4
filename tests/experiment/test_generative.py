"""Captioning, matching, latent prediction and synchrony by the real trainer, on real clips."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import load_experiment
from mmvideo.experiment.run import run
from mmvideo.experiment.weights.load import load
from mmvideo.input.pipeline import Batches
from mmvideo.media.text import Tokenizer
from mmvideo.model.config import Decoder, Fusion
from mmvideo.objectives import Captioning, Contrastive, LatentPrediction, Matching, Synchrony


@pytest.mark.slow(reason="six objectives are trained and evaluated")
def test_generative_objectives_train_evaluate_and_write_captions(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mmvideo.experiment.run._conclude", lambda *_: 0)  # no report
    text = dataclasses.replace(tiny.input.text, begin=True)
    audio = dataclasses.replace(tiny.input.audio, misaligned=0.5)
    experiment = dataclasses.replace(
        tiny,
        model=dataclasses.replace(tiny.model, depth=2, fusion=Fusion("mid", 1, text="causal")),
        input=dataclasses.replace(tiny.input, text=text, audio=audio),
        objectives={
            "contrastive": Contrastive(pairs=("video-text",), width=16),
            "captioning": Captioning(),
            "matching": Matching(),
            "latent": LatentPrediction(predictor=Decoder(1, 32, 2, "clip")),
            "in_time": Synchrony(),
            "sync": Synchrony("sync"),
        },
        evaluation=Evaluation(tasks=("losses",), gallery=0),
    )
    assert run(experiment, tmp_path) == 0
    assert load_experiment(tmp_path) == experiment
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "train/loss" in line]
    assert len(lines) == 4 and all(np.isfinite(line["train/loss"]) for line in lines)
    assert all(line["train/in_time/chance"] < 1 for line in lines), "the sound of some clips is shifted"
    held_out = json.loads((tmp_path / "evals" / "losses.json").read_text())["metrics"]
    assert held_out["latent/video/tokens"] > 0 and held_out["captioning/clips"] == held_out["matching/clips"] == 16
    assert held_out["in_time/chance"] == 1, "and of none when it is evaluated"

    trained = load(tmp_path)
    learner = trained.learner
    teacher = learner.heads["latent"]
    assert int(teacher.steps.get_value()) == 4
    assert all(np.isfinite(average.get_value()).all() for average in teacher.teacher.parameters.values())
    batches = Batches(experiment.input, masked=False, train=False, assets=trained.assets)
    stream = jax.tree.map(jnp.asarray, batches.batch(0))
    captioning = experiment.objectives["captioning"]
    found = captioning.generate(learner.heads["captioning"], stream, learner.trunk)
    tokenizer = Tokenizer(trained.assets["tokenizer.model"])
    captions = [tokenizer.decode(text_tokens) for text_tokens in found.text_tokens[found.written].tolist()]
    assert len(captions) == (stream.clips.clip_index >= 0).sum() and all(
        isinstance(caption, str) for caption in captions
    )
