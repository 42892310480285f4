"""`mmvideo eval`: the same numbers from one process and from two of two devices; tasks, other clips and bad words."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mmvideo.cli.main import main
from mmvideo.datasets.build import build
from mmvideo.datasets.shapes import ShapesConfig, write_shapes
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.config import to_json
from mmvideo.experiment.run import run
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video, Views
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Captioning, Classification, Contrastive, Regression
from mmvideo.parallel.config import Mesh
from mmvideo.training.config import Optimizer, Training

CLIPS = 9
"""Held-out clips: no batch of eight rows divides them."""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Path:
    """A run of two steps that retrieves, classifies, writes and tells a number, evaluated by one process."""
    folder = tmp_path_factory.mktemp("eval")
    write_shapes(folder / "clips", ShapesConfig(size=32), {"train": 16, "test": CLIPS}, processes=1)
    build(folder / "clips", folder / "corpus", processes=1, tokenizer_vocabulary=60, progress=False)
    experiment = Experiment(
        name="eval",
        input=Input(
            sources=(Source(str(folder / "corpus")),),
            video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
            text=Text(length=24, begin=True),
            packing=Packing(rows=8, tokens=40, clips=2),
            threads=1,
        ),
        model=Model(
            depth=2, width=32, heads=2, feed_forward=64, compute="float32", fusion=Fusion("mid", 1, text="causal")
        ),
        objectives={
            "contrastive": Contrastive(pairs=("video-text", "audio-text"), width=16),
            "captioning": Captioning(),
            "motion": Classification("visual", 6, modalities=("video",)),
            "elements": Classification("elements", 16, modalities=("video", "audio"), form="sigmoid"),
            "mood": Regression("mood", modalities=("video", "audio")),
        },
        training=Training(steps=2, optimizer=Optimizer(warmup=0), log_every=1, save_every=2, tensorboard=False),
        mesh=Mesh(data=-1),
        evaluation=Evaluation(views=Views(clips=2), gallery=1),
    )
    assert run(experiment, folder / "run") == 0
    (folder / "run" / "config.json").write_text(to_json(experiment))
    return folder / "run"


def metrics(workdir: Path) -> dict[str, dict[str, float]]:
    """All evaluations of a run."""
    return {path.stem: json.loads(path.read_text())["metrics"] for path in (workdir / "evals").glob("*.json")}


@pytest.mark.slow(reason="two processes start and evaluate every task")
def test_two_processes_of_two_devices_measure_what_one_does(workdir, tmp_path, launch):
    """The one has trained the run and then evaluated it; the two read its checkpoint."""
    two = tmp_path / "two"
    shutil.copytree(workdir, two, ignore=shutil.ignore_patterns("evals"))
    launch([sys.executable, "-m", "mmvideo.cli.main", "eval", str(two)])
    found, other = metrics(workdir), metrics(two)
    tasks = {"retrieval", "classification", "regression", "captioning", "losses"}
    assert found.keys() == other.keys() == tasks
    for name in tasks:
        assert found[name].keys() == other[name].keys()
        for metric, value in found[name].items():
            told = other[name][metric]
            assert told == value or np.isclose(told, value, rtol=1e-5, atol=1e-6), (name, metric)
        lines = [(copy / "evals" / f"{name}.predictions.jsonl").read_text().splitlines() for copy in (workdir, two)]
        ids = [[json.loads(line)["id"] for line in own] for own in lines]
        assert ids[0] == ids[1] and len(set(ids[0])) == len(ids[0])
        assert name == "losses" or len(ids[0]) == CLIPS
    texts = [
        [json.loads(line)["caption"] for line in (copy / "evals" / "captioning.predictions.jsonl").open()]
        for copy in (workdir, two)
    ]
    assert texts[0] == texts[1]


def test_a_run_measures_all_that_its_objectives_answer(workdir):
    found = metrics(workdir)
    assert {"text_to_video/r@1", "video_to_text/r@1"} <= found["retrieval"].keys()
    assert found["classification"]["motion/clips"] == CLIPS and "elements/mAP" in found["classification"]
    assert found["regression"]["mood/clips"] == CLIPS
    assert found["captioning"]["clips"] == CLIPS and "facts/colour+shape+motion" in found["captioning"]
    protocol = json.loads((workdir / "evals" / "classification.json").read_text())["protocol"]
    assert protocol["views"] == 2 and "probabilities" in protocol["average"]
    assert "Classification" in (workdir / "report.html").read_text()


@pytest.mark.slow(reason="evaluates three subsets of the modalities")
def test_one_command_tells_what_each_modality_adds(workdir, tmp_path, capsys):
    """Over every group of modalities, each with a program of its own; what is not answerable is told."""
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    assert main(["eval", str(copy), "--modalities", "each", "--tasks", "classification"]) == 0
    names = {path.stem for path in (copy / "evals").glob("classification*.json")}
    groups = ("video+audio", "video+text", "audio+text", "video", "audio", "text")
    assert names == {"classification", *(f"classification.{group}" for group in groups)}
    lines = capsys.readouterr().out.splitlines()
    (head,) = [number for number, line in enumerate(lines) if line.startswith("what each modality adds")]
    assert lines[head].split()[4:] == ["all", *groups, "+video", "+audio", "+text"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[head + 1 : head + 3]}
    motion = rows["motion/top1"]
    # A head of the video alone tells the same without the audio, and nothing without the video.
    assert motion[0] == motion[1] == motion[2] == motion[4]
    assert motion[3] == motion[5] == motion[6] == "–" and motion[7:] == ["–", "+0.000", "+0.000"]
    assert rows["elements/mAP"][0] == rows["elements/mAP"][1] and rows["elements/mAP"][2:7] == ["–"] * 5
    assert "no clip of the training lacked audio or video" in lines[head + 3]
    alone = json.loads((copy / "evals" / "classification.video.json").read_text())["protocol"]
    assert alone["not_answerable"] == {"elements": ["audio"]} and alone["never_missing"] == ["audio"]
    page = (copy / "report.html").read_text()
    assert "What each modality adds" in page and "“elements” is not answerable with video, audio" in page
    assert main(["eval", str(copy), "--modalities", "video", "--tasks", "classification"]) == 0
    told = capsys.readouterr().out
    assert "elements                not answerable: it needs audio, which is not shown" in told
    assert "no clip of the training lacked audio" in told


def test_tasks_and_other_clips_are_written_beside_the_rest(workdir, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    before = (copy / "evals" / "retrieval.json").read_text()
    corpus = json.loads((copy / "config.json").read_text())["input"]["sources"][0]["path"]
    assert main(["eval", str(copy), "--dataset", f"{corpus}:train", "--tasks", "classification"]) == 0
    assert (copy / "evals" / "retrieval.json").read_text() == before
    beside = json.loads((copy / "evals" / "classification@corpus.json").read_text())
    assert beside["clips"] == 16 and beside["split"] == "train"
    assert "motion" in capsys.readouterr().out


@pytest.mark.slow(reason="evaluates three times, with captions written")
def test_an_export_is_evaluated_where_its_training_corpus_is_not(workdir, tmp_path, capsys):
    corpus = Path(json.loads((workdir / "config.json").read_text())["input"]["sources"][0]["path"])
    elsewhere, gone = shutil.copytree(corpus, tmp_path / "other"), corpus.with_name("gone")
    assert main(["export", str(workdir), str(tmp_path / "model")]) == 0
    corpus.rename(gone)
    try:
        tasks = "captioning,classification,retrieval"
        words = ["eval", str(tmp_path / "model"), "--dataset", f"{elsewhere}:test"]
        assert main([*words, "--tasks", tasks, "--evaluation.probes", "visual"]) == 0
        said = capsys.readouterr().out
        assert f"captioning: novel is left out, which needs the training captions: {corpus} isn't here" in said
        assert main([*words, "--tasks", "losses", "--evaluation.probes", "visual"]) == 0
        assert main([*words, "--tasks", "probes", "--evaluation.probes", "visual"]) == 2
        assert f"{corpus}: there is no such folder" in capsys.readouterr().err
        assert main([*words, "--evaluation.probes", "visual"]) == 0
        assert f"probes: left out, since they are trained on the training clips: {corpus}" in capsys.readouterr().out
    finally:
        gone.rename(corpus)
    found = json.loads((tmp_path / "model" / "evals" / "captioning@other.json").read_text())
    assert "novel" not in found["metrics"] and found["protocol"]["novel"].startswith("left out")
    assert found["metrics"]["clips"] == CLIPS and "novel" in metrics(workdir)["captioning"]
    assert (tmp_path / "model" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tasks", "moments"], "names moments, which this run cannot answer"),
        (["--tasks", "captionning"], "there is no task 'captionning'"),
        (["--dataset", "nowhere"], "there is no such folder"),
        (["--evaluation.actions", "verb+noun"], "no classification objective 'verb'"),
    ],
)
def test_what_cannot_be_measured_is_one_line(workdir, words, said, capsys):
    assert main(["eval", str(workdir), *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
