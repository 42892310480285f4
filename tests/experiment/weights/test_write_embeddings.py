"""A trained run evaluated with some of its modalities, and its embeddings written for another to learn from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mmvideo.cli.main import main
from mmvideo.experiment.config import Experiment, to_json
from mmvideo.experiment.evaluators import evaluators
from mmvideo.experiment.weights.load import load
from mmvideo.input.annotations.teacher_embeddings import read_teacher_embeddings
from mmvideo.input.pipeline import Batches


@pytest.fixture
def recipe(tiny) -> Experiment:
    """The recipe of the finished run, with shifted sound."""
    audio = dataclasses.replace(tiny.input.audio, misaligned=0.5, shift=0.5)
    return dataclasses.replace(tiny, input=dataclasses.replace(tiny.input, audio=audio))


def test_sound_is_shifted_in_evaluation_only_where_losses_are_asked_for_it(recipe):
    assets = Batches(recipe.input).assets()
    asked = dataclasses.replace(recipe, evaluation=dataclasses.replace(recipe.evaluation, misaligned=True))
    shares = []
    for experiment in (recipe, asked):
        retrieval, losses, probes = evaluators(experiment, assets)
        assert retrieval.batches.batch(0).clips.aligned.all() and probes.test.batch(0).clips.aligned.all()
        aligned = losses.batches.batch(0).clips
        shares.append((~aligned.aligned)[aligned.clip_index >= 0].mean())
    assert shares[0] == 0 and 0.1 < shares[1] < 0.9


def test_losses_that_need_embeddings_of_another_machine_are_left_out_and_said(recipe, capsys):
    assets = Batches(recipe.input).assets()
    moved = dataclasses.replace(recipe, input=dataclasses.replace(recipe.input, embeddings="nowhere/teacher.npz"))
    assert [one.name for one in evaluators(moved, assets)] == ["retrieval", "probes"]
    assert "losses: left out" in (said := capsys.readouterr().out) and "nowhere/teacher.npz isn't here" in said
    asked = dataclasses.replace(moved, evaluation=dataclasses.replace(moved.evaluation, tasks=("losses",)))
    with pytest.raises((ValueError, FileNotFoundError), match="nowhere/teacher.npz"):
        evaluators(asked, assets)


def _similarities(workdir: Path, name: str) -> np.ndarray:
    """Of each clip's pictures to the nearest texts, best first."""
    lines = (workdir / "evals" / f"{name}.predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return np.array([sorted(json.loads(line)["scores"]["video_to_text"].values()) for line in lines])


@pytest.mark.slow(reason="all is evaluated again, with a report")
def test_any_subset_is_evaluated_beside_the_rest(copied: Path, capsys):
    whole = (copied / "evals" / "retrieval.json").read_text()
    assert main(["eval", str(copied), "--modalities", "text,video"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert any(line.startswith("video → text") for line in told)
    assert not any(line.startswith(("audio", "video+audio")) or "→ audio" in line for line in told)
    assert any("no clip of the training lacked audio" in line for line in told)
    assert (copied / "evals" / "retrieval.json").read_text() == whole
    partial = json.loads((copied / "evals" / "retrieval.video+text.json").read_text())
    assert partial["protocol"]["modalities"] == ["video", "text"] and partial["clips"] == 16
    assert partial["metrics"]["audio_to_text/clips"] == 0
    # Below the fusion layer nothing knows of the sound: what is left is what it was.
    before, after = (_similarities(copied, name) for name in ("retrieval", "retrieval.video+text"))
    np.testing.assert_allclose(after, before, atol=1e-4)
    losses = json.loads((copied / "evals" / "losses.video+text.json").read_text())["metrics"]
    assert losses["masked_patches/video/tokens"] > 0 and losses["masked_patches/audio/tokens"] == 0
    probes = json.loads((copied / "evals" / "probes.video+text.json").read_text())["metrics"]
    assert {name.split("/")[1] for name in probes if name.endswith("linear/accuracy")} == {"video", "text"}
    page = (copied / "report.html").read_text(encoding="utf-8")
    assert "Modalities" in page and "video+text" in page, "side by side"


@pytest.mark.slow(reason="evaluates a trained run")
def test_embeddings_are_written_and_carried_by_another_runs_streams(copied: Path, shapes, tmp_path: Path, capsys):
    out = tmp_path / "teacher.npz"
    assert main(["predict", "embed", str(copied), str(shapes), "--out", str(out)]) == 0
    assert "56 clips, 0 skipped" in capsys.readouterr().out
    ids, groups = read_teacher_embeddings(out)
    assert len(ids) == 56 and set(groups) >= {"video", "audio", "text"}
    for vectors in groups.values():
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    student = dataclasses.replace(load(copied).experiment.input, embeddings=str(out))
    batches = Batches(student)
    stream = batches.batch(0)
    for row, slot in np.argwhere(stream.clips.clip_index >= 0):
        place = ids.index(batches.clip_id(int(stream.clips.clip_index[row, slot])))
        assert np.array_equal(stream.clips.teacher_embeddings["video"][row, slot], groups["video"][place])
    features = tmp_path / "features.npz"
    arguments = ["predict", "embed", str(copied), str(shapes), "--split", "test", "--features", "--out", str(features)]
    assert main(arguments) == 0
    ids, groups = read_teacher_embeddings(features)
    assert len(ids) == 16 and groups["video"].shape == (16, 32)


@pytest.mark.slow(reason="evaluates a trained run")
def test_mistakes_are_one_line_and_exit_code_2(copied: Path, shapes, tmp_path: Path, recipe, capsys):
    out = str(tmp_path / "a.npz")
    (tmp_path / "config.json").write_text(to_json(recipe))
    for arguments, words in (
        (["eval", str(copied), "--modalities", "video,smell"], "evaluation.modalities"),
        (["eval", str(copied), "--modalities"], "--modalities needs names such as video,text"),
        (["predict", "embed", str(copied), str(shapes), "--out", "a.txt"], "must end in .npz"),
        (["predict", "embed", str(copied), str(shapes), "--split", "dev", "--out", out], "has no split 'dev'"),
        (["predict", "embed", str(tmp_path), str(shapes), "--out", out], "has no checkpoint yet"),
        (["predict", "embed", str(copied), "--out", out], "corpus"),
    ):
        assert main(arguments) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and words in lines[0], lines
