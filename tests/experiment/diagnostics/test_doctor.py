"""What the doctor finds on these machines, of a run that fits them and of one that does not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mmvideo.experiment.config import Experiment
from mmvideo.experiment.diagnostics import doctor, versions
from mmvideo.input.config import Audio, Input, Packing, Source
from mmvideo.parallel.config import Mesh


def experiment(shapes, rows=8, **mesh):
    sources = (Source(str(shapes), "train"),)
    settings = Input(sources=sources, video=None, audio=Audio(), text=None, packing=Packing(rows=rows))
    return Experiment("sick", settings, mesh=Mesh(**mesh))


@pytest.fixture
def no_tries(monkeypatch):
    """Flags are tried in the test of them alone."""
    for variable in doctor.VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def by_check(findings):
    return {finding.check: finding for finding in findings}


def test_a_sound_machine_is_told_line_by_line(shapes, tmp_path, no_tries):
    found = list(doctor.examine(experiment(shapes), tmp_path, [(str(shapes), "test"), (str(shapes), "train")]))
    assert [one.check for one in found] == [
        "versions", "devices", "mesh", "products", "collective", "storage", "corpus", "corpus",
    ]  # fmt: skip
    assert {one.verdict for one in found} <= {"ok", "warning"}, found
    told = by_check(found)
    assert f"jax {metadata.version('jax')}" in told["versions"].text and "jaxlib" in told["versions"].text
    assert told["devices"].text == "8 x cpu (cpu)"
    assert "data 8 x fsdp 1" in told["mesh"].text and "1 of 8 rows on each" in told["mesh"].text
    assert "over 8 devices" in told["collective"].text and "MB/s" in told["storage"].text
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_named_and_the_rest_is_looked_at(tmp_path, no_tries):
    sick = experiment(tmp_path / "none", rows=4, data=-1, fsdp=2)
    found = by_check(doctor.examine(sick, "/proc/run"))
    assert {name for name, one in found.items() if one.verdict == "FAILED"} == {"mesh", "storage", "corpus"}
    assert "4 rows do not divide among 8 parts" in found["mesh"].text
    assert "input.packing.rows to a multiple of 8" in found["mesh"].text
    assert "cannot be written" in found["storage"].text and "there is no such folder" in found["corpus"].text
    three = by_check(doctor._checked("mesh", lambda: doctor.mesh(experiment(tmp_path, fsdp=3))))["mesh"]
    assert three.verdict == "FAILED" and "3 does not divide the 8 devices" in three.text


def test_versions_outside_the_tested_ranges_are_told(monkeypatch):
    there = {"jax": "0.9.1", "jaxlib": "0.10.2", "jax-cuda13-plugin": "0.10.1"}
    monkeypatch.setattr(versions, "installed", lambda name: None if name == "av" else there.get(name, "1.0"))
    monkeypatch.setattr(doctor, "installed", versions.installed)
    monkeypatch.setattr(metadata, "requires", lambda name: ["jax>=0.10.2,<0.13", "av>=18.1,<20", "x; extra == 'dev'"])
    told = {finding.text.split()[0]: finding for finding in doctor.versions()}
    assert told["jax"].verdict == "warning" and "0.9.1 is outside the tested range <0.13,>=0.10.2" in told["jax"].text
    assert told["av"].verdict == "FAILED" and "pip install 'av<20,>=18.1'" in told["av"].text
    assert told["jax-cuda13-plugin"].verdict == "FAILED" and "different releases" in told["jax-cuda13-plugin"].text
    assert "x" not in told


def test_the_command_names_a_refused_flag_goes_on_and_ends_with_1(tmp_path):
    root = Path(__file__).parents[3]
    flags = "--xla_force_host_platform_device_count=2 --xla_no_such_flag=1"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "mmvideo.cli.main", "doctor", "--workdir", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert (
        lines["flags"].startswith("FAILED") and "for --xla_no_such_flag=1; take that out of XLA_FLAGS" in lines["flags"]
    )
    assert (
        lines["devices"].startswith("ok") and "2 x cpu" in lines["devices"] and "over 2 devices" in lines["collective"]
    )
