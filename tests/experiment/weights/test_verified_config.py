"""A workdir's config.json is compared with the copy that its checkpoints keep, wherever a run is opened."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from mmvideo.cli.main import main
from mmvideo.experiment.config import Experiment, load_experiment, to_json
from mmvideo.experiment.find_config import ConfigError
from mmvideo.experiment.weights.export import export
from mmvideo.experiment.weights.load import load
from mmvideo.experiment.weights.verified_config import load_run
from mmvideo.experiment.weights.write_embeddings import write_embeddings
from mmvideo.training.checkpoint.checkpoint_manifest import make_record
from mmvideo.training.config import Training

EXPERIMENT = Experiment(name="small", training=Training(steps=20, seed=3))


@pytest.fixture
def workdir(tmp_path) -> Path:
    """A run's settings, and the records of checkpoints of steps 4 and 8."""
    text = to_json(EXPERIMENT)
    for step in (4, 8):
        record = tmp_path / "checkpoints" / str(step) / "record"
        record.mkdir(parents=True)
        for name, data in make_record({}, {"config.json": text.encode()}).files.items():
            (record / name).write_bytes(data)
    (tmp_path / "config.json").write_text(text)
    return tmp_path


def change(workdir: Path, old: str, new: str) -> None:
    path = workdir / "config.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_settings_are_those_that_were_written(workdir, capsys):
    assert load_run(workdir) == load_run(workdir, 4) == EXPERIMENT
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "opening",
    [
        load_run,
        load,
        lambda workdir: export(workdir, workdir / "out"),
        lambda workdir: write_embeddings(workdir, ["samples:sounds"], workdir / "out.npz"),
    ],
)
def test_a_setting_that_changes_what_weights_mean_is_refused(workdir, opening):
    change(workdir, '"seed": 3', '"seed": 7')
    with pytest.raises(ConfigError, match=r"training\.seed \(3 there, 7 here\).*8/record/config\.json: put it back"):
        opening(workdir)


@pytest.mark.parametrize("command", [["eval"], ["report"], ["compare", "."], ["export"]])
def test_the_commands_refuse_it_too(workdir, capsys, command):
    change(workdir, '"seed": 3', '"seed": 7')
    other = [str(workdir), str(workdir / "out")] if command[0] == "export" else [str(workdir)]
    if command[0] == "compare":
        copy = shutil.copytree(workdir, workdir / "other")
        command, other = ["compare"], [str(workdir), str(copy)]
    assert main([*command, *other]) == 2
    said = capsys.readouterr().err
    assert "training.seed (3 there, 7 here)" in said and said.count("\n") == 1


def test_what_may_differ_is_said_and_taken(workdir, capsys):
    changed = dataclasses.replace(EXPERIMENT, training=dataclasses.replace(EXPERIMENT.training, steps=30, log_every=7))
    (workdir / "config.json").write_text(to_json(changed))
    assert load_run(workdir) == changed
    said = capsys.readouterr().err
    assert "training.steps (20 there, 30 here)" in said and "training.log_every" in said


@pytest.mark.parametrize("damage", [b"\xff", b"[", b"}"])
def test_what_cannot_be_read_is_told_with_where_its_copy_is(workdir, damage):
    path = workdir / "config.json"
    path.write_bytes(damage + path.read_bytes()[1:])
    with pytest.raises(ConfigError, match=r"its copy is .*checkpoints/8/record/config\.json"):
        load_run(workdir)
    shutil.copy(workdir / "checkpoints" / "8" / "record" / "config.json", path)
    assert load_run(workdir) == EXPERIMENT


def test_a_damaged_copy_is_passed_over_for_the_one_before(workdir):
    record = workdir / "checkpoints" / "8" / "record" / "config.json"
    record.write_bytes(record.read_bytes().replace(b'"seed": 3', b'"seed": 7'))
    assert load_run(workdir) == EXPERIMENT
    change(workdir, '"seed": 3', '"seed": 7')
    with pytest.raises(ConfigError, match="the checkpoint of step 4"):
        load_run(workdir)


def test_no_flipped_bit_of_the_settings_is_silent(workdir, capsys):
    path = workdir / "config.json"
    sound = path.read_bytes()
    for place in range(0, len(sound), 17):
        broken = bytearray(sound)
        broken[place] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            found = load_run(workdir)
        except ConfigError:
            continue
        assert found == EXPERIMENT or "differs from the copy" in capsys.readouterr().err, place


def test_a_run_without_a_checkpoint_opens(tmp_path):
    (tmp_path / "config.json").write_text(to_json(EXPERIMENT))
    assert load_run(tmp_path) == load_experiment(tmp_path) == EXPERIMENT
    assert json.loads((tmp_path / "config.json").read_text())["name"] == "small"
