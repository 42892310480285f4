"""A mistake in paths and arguments is told before JAX is imported; one in a field before a run is set up."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from mmvideo.cli.main import main

CODE = """
import contextlib, io, json, sys
from mmvideo.cli.main import main
found = []
for arguments in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = main(arguments)
    heavy = [name for name in ("jax", "flax", "numpy", "tyro", "orbax") if name in sys.modules]
    found.append([code, said.getvalue(), heavy])
print(json.dumps(found))
"""

TOLD = [
    (["train"], "a recipe is missing"),
    (["eval"], "the workdir of a run is missing"),
    (["plan"], "a recipe is missing"),
    (["train", "--training.steps", "3"], "a recipe comes first"),
    (["train", "nothing.py"], "there is no recipe nothing.py"),
    (["train", "nothing.py:tiny"], "there is no recipe nothing.py"),
    (["train", "README.md"], "neither a recipe"),
    (["train", "configs/quickstart/shapes.py", "--workdir"], "--workdir needs a folder"),
    (["plan", "nothing.py"], "there is no recipe nothing.py"),
    (["doctor", "nothing.py"], "there is no recipe nothing.py"),
    (["eval", "runs/nothing"], "there is no run runs/nothing"),
    (["eval", "configs"], "configs holds no run"),
    (["eval", "README.md"], "is a file, not a run"),
    (["export", "runs/nothing", "out"], "there is no run runs/nothing"),
    (["export", "runs/nothing", "out", "--step", "last"], "--step last must be"),
    (["report", "runs/nothing"], "there is no run runs/nothing"),
    (["compare", "runs/nothing", "runs/none"], "there is no run runs/nothing"),
    (["predict", "embed", "runs/nothing", "corpus", "--out", "x.npz"], "there is no run runs/nothing"),
    (["train", "configs/quickstart/samples.py", "--unknown.field", "1"], "there is no field 'unknown.field'"),
    (["train", "configs/quickstart/samples.py", "--training.stepss", "3"], "did you mean 'training.steps'"),
    (["train", "configs/quickstart/samples.py", "--input.sources.0.pth=x"], "did you mean 'input.sources.0.path'"),
    (["train", "configs/quickstart/samples.py", "--model.fusion.scheme.x", "1"], "there is no field"),
    (["plan", "configs/quickstart/samples.py", "--input.vidio.fps", "3"], "did you mean 'input.video"),
    (["doctor", "configs/quickstart/samples.py", "--mesh.dat", "3"], "did you mean 'mesh.data'"),
    (["predict"], "ACTION"),
    (["data"], "ACTION"),
]


def test_missing_paths_and_arguments_are_told_without_a_heavy_import():
    command = [sys.executable, "-c", CODE, json.dumps([arguments for arguments, _ in TOLD])]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 0, answer.stderr
    for (arguments, words), (code, said, heavy) in zip(TOLD, json.loads(answer.stdout), strict=True):
        assert code == 2, arguments
        assert words in said and said.count("\n") == 1, (arguments, said)
        assert heavy == [], arguments


NO_JAX = """
import sys
from mmvideo.cli.main import main
code = main(sys.argv[1:])
print(code, [name for name in ("jax", "flax", "tyro") if name in sys.modules])
"""


def test_a_corpus_of_a_flag_is_looked_at_without_jax():
    arguments = ["train", "configs/quickstart/samples.py", "--input.sources.0.path", "/no/such/corpus"]
    answer = subprocess.run([sys.executable, "-c", NO_JAX, *arguments], capture_output=True, text=True, timeout=120)
    assert answer.stdout.strip() == "2 []" and "/no/such/corpus: there is no such folder" in answer.stderr


def test_missing_devices_are_told_with_jax_alone():
    code = NO_JAX.replace('"jax", ', "")
    environment = os.environ | {"JAX_PLATFORMS": "nonsense"}
    command = [sys.executable, "-c", code, "train", "configs/quickstart/samples.py"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert answer.stdout.strip() == "2 []" and "JAX_PLATFORMS=nonsense" in answer.stderr, answer.stderr


@pytest.mark.parametrize("recipe", ["quickstart/finetune.py", "pretrain/trimodal.py", "baselines/cnn_lstm.py"])
def test_every_field_of_a_recipe_passes_the_early_look(recipe):
    from mmvideo.cli.terminal.field_names import check_flags
    from mmvideo.cli.terminal.usage_errors import fields
    from mmvideo.experiment import load_experiment

    names = fields(load_experiment(f"configs/{recipe}"))
    assert len(names) > 100
    check_flags([f"--{name}" for name in names if not name.endswith("-path")], "mmvideo train")
    check_flags([f"--{name.replace('-', '_')}=1" for name in names if not name.endswith("path")], "mmvideo train")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (["--input.sources.0.path", "/no/such/corpus"], "there is no such folder"),
        (["--input.sources.0.path", "samples:none"], "there is no embedded set 'none'"),
        (["--input.text.tokenizer", "/no/such/tokenizer.model"], "there is no file /no/such/tokenizer.model"),
        (["--input.embeddings", "/no/such.npz"], "there is no file /no/such.npz"),
        (["--training.init-from", "/no/such/run"], "no checkpoint there"),
        (["--model.depth", "1"], "fusion.layer 3 and fusion.media_layer 2 must satisfy"),
        (["--training.steps", "3"], "leaves nothing of training.steps=3"),
        (["--model.heads", "7"], "is not a multiple of model.heads 7"),
    ],
)
def test_what_the_settings_name_is_looked_at_before_a_run_is_set_up(tmp_path, monkeypatch, capsys, fields, words):
    monkeypatch.setitem(sys.modules, "mmvideo.experiment.run", None)  # An import of it would fail.
    recipe = "configs/quickstart/samples.py"
    assert main(["train", recipe, "--workdir", str(tmp_path / "run"), *fields]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_split_that_is_not_there_is_told_with_those_that_are(shapes, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "mmvideo.experiment.run", None)
    corpus = ["--input.sources.0.path", str(shapes), "--input.sources.0.split", "trian"]
    assert main(["train", "configs/quickstart/shapes.py", *corpus]) == 2
    assert "has no split 'trian'; it has" in capsys.readouterr().err


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
def test_devices_that_are_not_there_are_one_line(platform):
    code = (
        "from mmvideo.parallel.find_devices import find_devices\ntry: find_devices()\nexcept ValueError as e: print(e)"
    )
    environment = os.environ | {"JAX_PLATFORMS": platform}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    if platform == "cuda" and not answer.stdout:
        pytest.skip("there is a GPU here")
    assert f"JAX_PLATFORMS={platform}" in answer.stdout and "JAX_PLATFORMS=cpu" in answer.stdout, answer.stderr
    assert answer.stdout.count("\n") == 1


def test_doctor_lives_without_devices():
    environment = os.environ | {"JAX_PLATFORMS": "nonsense"}
    command = [sys.executable, "-m", "mmvideo.cli.main", "doctor"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert answer.returncode == 1 and "Traceback" not in answer.stderr
    assert "JAX finds no such device" in answer.stdout
