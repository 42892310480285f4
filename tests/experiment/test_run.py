"""The whole vertical on real clips: train, evaluate, report, stop, resume, load."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from mmvideo.experiment.config import ConfigError, load_experiment, to_json
from mmvideo.experiment.run import evaluate, run
from mmvideo.experiment.weights.load import load
from mmvideo.input.config import Packing
from mmvideo.model.config import Fusion
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints
from mmvideo.training.workdir import WorkdirError

ROOT = Path(__file__).parents[2]

STEPS = 12
"""Of a run that is stopped after a few: so many that the signal comes before the last."""


def arrays(workdir: Path, step: int) -> dict[str, bytes]:
    """Every array of a checkpoint, parameters and optimiser state alike, as bytes by name."""
    import orbax.checkpoint as ocp

    found = {}
    for part in ("params", "rest"):
        with ocp.StandardCheckpointer() as reader:
            restored = reader.restore(workdir / "checkpoints" / str(step) / part)
        found |= {name: np.asarray(value).tobytes() for name, value in restored.items()}
    return found


@pytest.mark.slow(reason="trains, evaluates and writes a report")
def test_a_run_leaves_the_whole_record(tiny, copied):
    assert load_experiment(copied) == tiny
    lines = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    losses = [line["train/loss"] for line in lines if "train/loss" in line]
    assert len(losses) == 4 and np.isfinite(losses).all()
    metrics = json.loads((copied / "evals" / "retrieval.json").read_text())["metrics"]
    for one in ("video", "audio", "text"):
        for other in {"video", "audio", "text"} - {one}:
            for name in ("r@1", "r@5", "r@10", "median_rank", "chance", "oracle"):
                assert f"{one}_to_{other}/{name}" in metrics
    losses = json.loads((copied / "evals" / "losses.json").read_text())["metrics"]
    assert losses["masked_patches/video/tokens"] > 0 and np.isfinite(list(losses.values())).all()
    predictions = (copied / "evals" / "retrieval.predictions.jsonl").read_text().splitlines()
    assert len({json.loads(line)["id"] for line in predictions}) == 16
    page = (copied / "report.html").read_text(encoding="utf-8")
    assert page.count("data:video/mp4") > 3 and "http://" not in page.replace("http://www.w3.org", "")
    assert "Planned and measured" in page and "tokens a step" in page
    assert {"tokenizer.model", "spectrogram.json", "classes.json", "config.json"} <= set(
        Checkpoints(copied / "checkpoints").assets(4)
    )

    trained = load(copied)
    clip = ROOT / "mmvideo/datasets/samples/film/clips/bbb_013.mp4"
    silent = next((ROOT / "mmvideo/datasets/samples/animations/clips").glob("*.mp4"))
    found = trained.embed([clip, silent], ["a red circle climbs"])
    assert np.allclose(np.linalg.norm(found["video"], axis=1), 1, atol=1e-5)
    assert np.isfinite(found["audio"][0]).all() and np.isnan(found["audio"][1]).all()
    assert found["text"].shape == (1, found["video"].shape[1])
    with pytest.raises(ValueError, match="nothing to embed"):
        trained.embed()


@pytest.mark.slow(reason="a run is trained twice, once in a process that is stopped")
def test_stopped_half_way_and_resumed_ends_with_the_same_bits(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mmvideo.experiment.run._conclude", lambda *_: 0)  # no report
    silent = dataclasses.replace(tiny.evaluation, retrieval=False, probes=(), losses=False)
    plain = dataclasses.replace(tiny, evaluation=silent)
    longer = dataclasses.replace(plain, training=dataclasses.replace(plain.training, steps=STEPS, save_every=1000))
    assert run(longer, tmp_path / "whole") == 0

    (tmp_path / "recipe.json").write_text(to_json(longer))
    command = [sys.executable, "-m", "mmvideo.cli.main", "train", str(tmp_path / "recipe.json"), "--workdir"]
    # As many devices as this process has, whose compiled programs it takes.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": str(len(jax.devices()))}
    stopped = subprocess.Popen([*command, str(tmp_path / "stopped")], env=environment, stdout=subprocess.DEVNULL)
    log = tmp_path / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not log.exists() or log.read_text().count("\n") < 2:
        assert time.monotonic() < deadline and stopped.poll() is None
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(timeout=200) == 3
    assert 2 <= Checkpoints(tmp_path / "stopped" / "checkpoints").latest < STEPS
    assert run(longer, tmp_path / "stopped") == 0

    expected, resumed = arrays(tmp_path / "whole", STEPS), arrays(tmp_path / "stopped", STEPS)
    assert expected.keys() == resumed.keys() and len(expected) > 50
    assert [name for name in expected if expected[name] != resumed[name]] == []


@pytest.mark.slow(reason="compiles a learner and a step")
def test_a_trace_names_what_threads_and_devices_do(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("mmvideo.experiment.run._conclude", lambda *_: 0)  # no report
    silent = dataclasses.replace(tiny.evaluation, retrieval=False, probes=(), losses=False)
    # Few rows ahead, so that some are prepared while it is traced.
    input_ = dataclasses.replace(tiny.input, prefetch=2)
    assert run(dataclasses.replace(tiny, evaluation=silent, input=input_), tmp_path, profile=2) == 0
    (trace,) = (tmp_path / "profile" / "plugins" / "profile").glob("*/*.trace.json.gz")
    with gzip.open(trace) as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"record", "decode", "tokenise", "assemble", "wait", "step", "train"} <= names


@pytest.mark.slow(reason="compiles a learner and a step")
def test_a_corpus_of_which_nothing_can_be_read_stops_the_run_before_a_checkpoint(tiny, shapes, tmp_path):
    """Bytes of the shards changed while their sizes stayed, which no digest is compared with at the start."""
    corpus = shutil.copytree(shapes, tmp_path / "corpus")
    for shard in corpus.glob("*-train.array_record-*"):
        content = bytearray(shard.read_bytes())
        content[: len(content) * 9 // 10 : 64] = b"x" * len(range(0, len(content) * 9 // 10, 64))
        shard.write_bytes(content)
    source = dataclasses.replace(tiny.input.sources[0], path=str(corpus))
    broken = dataclasses.replace(tiny, input=dataclasses.replace(tiny.input, sources=(source,)))
    with pytest.raises(ValueError, match=r"none of its \d+ clips could be read|can't be opened"):
        run(broken, tmp_path / "run")
    assert not list((tmp_path / "run").glob("checkpoints/[0-9]*"))


def test_wrong_uses_are_told(tiny, tmp_path):
    with pytest.raises(ConfigError, match="there is no run"):
        load(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text(to_json(tiny))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        evaluate(tiny, tmp_path)
    other = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, width=64))
    with pytest.raises(WorkdirError, match="model.width"):
        run(other, tmp_path)
    mood = dataclasses.replace(tiny, evaluation=dataclasses.replace(tiny.evaluation, probes=("mood",)))
    with pytest.raises(ValueError, match="'mood', which corpus lacks; it has: audio"):
        run(mood, tmp_path / "mood")
    assert not (tmp_path / "mood" / "metrics.jsonl").exists()
    rows = dataclasses.replace(tiny.input.packing, rows=len(jax.devices()) + 1)
    with pytest.raises(ValueError, match="rows"):
        run(dataclasses.replace(tiny, input=dataclasses.replace(tiny.input, packing=rows)), tmp_path / "rows")


@pytest.mark.slow(reason="ten steps on real clips of the samples")
# Fifty steps go through the code of ten.
@pytest.mark.parametrize("steps", [10, pytest.param(50, marks=pytest.mark.nightly)])
def test_steps_on_the_three_sample_sets_are_finite(tmp_path, monkeypatch, steps):
    monkeypatch.setattr("mmvideo.experiment.run._conclude", lambda *_: 0)  # no report
    recipe = load_experiment(ROOT / "configs" / "quickstart" / "samples.py")
    small = dataclasses.replace(
        recipe,
        input=dataclasses.replace(
            recipe.input,
            video=dataclasses.replace(recipe.input.video, size=48),
            packing=Packing(rows=8, tokens=160, clips=5),
        ),
        model=dataclasses.replace(recipe.model, depth=2, width=32, heads=2, feed_forward=64, fusion=Fusion("mid", 1)),
        training=dataclasses.replace(
            recipe.training,
            steps=steps,
            tensorboard=False,
            optimizer=dataclasses.replace(recipe.training.optimizer, warmup=4),
        ),
        evaluation=dataclasses.replace(recipe.evaluation, probes=(), retrieval=False),
    )
    assert run(small, tmp_path) == 0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "train/loss" in line]  # the others tell what an evaluation found
    assert lines[-1]["step"] == steps and np.isfinite([line["train/loss"] for line in lines]).all()
    assert lines[-1]["skipped_steps"] == 0 and lines[-1]["unreadable_clips"] == 0
    # Most clips lack a modality, and each pair of modalities counts only the clips that have both.
    seen = lines[-1]
    pairs = [seen[f"train/contrastive/{pair}/clips"] for pair in ("video-text", "audio-text", "video-audio")]
    assert 0 < pairs[2] < min(pairs[:2])
