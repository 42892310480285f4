"""A suite by its command: planned, run side by side, killed and gone on with, failing in part, on a simulated SLURM."""

from __future__ import annotations

import csv
import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmvideo.ablation.cells import cells_of, load_suite
from mmvideo.ablation.launchers.jobset import write_jobsets
from mmvideo.ablation.schedule import runs_of, write_down
from mmvideo.ablation.worker import state_of
from mmvideo.cli.main import main

ROOT = Path(__file__).parents[2]

ONE_SEED = "\nimport dataclasses\ntier = dataclasses.replace(tier, seeds=(0,))\n"
ONE_SEED += "suite = Suite('small', 'A small suite', 'all else', tier, tier)\n"
"""Words behind the suite that leave it two cells."""


ENVIRONMENT = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}


def ablate(suite: Path, folder: Path, *more: str) -> subprocess.Popen:
    """The command in a process of its own."""
    command = [sys.executable, "-m", "mmvideo.cli.main", "ablate", str(suite), "--folder", str(folder), *more]
    environment = os.environ | ENVIRONMENT
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # A shell that starts the tests in the background hands down that SIGINT is to be ignored.
    heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, env=environment, cwd=folder.parent, preexec_fn=heed, **pipes)


def said(process: subprocess.Popen, code: int = 0) -> str:
    words = process.communicate(timeout=500)[0]
    assert process.returncode == code, words[-3000:]
    return words


@pytest.fixture
def ablate_here(monkeypatch, capsys):
    """The command in this process, which saves the start of one; its cells are processes of their own as ever."""

    def call(suite: Path, folder: Path, *more: str, code: int = 0) -> str:
        for name, value in ENVIRONMENT.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder.parent)
        returned = main(["ablate", str(suite), "--folder", str(folder), *more])
        words = "".join(capsys.readouterr())
        assert returned == code, words[-3000:]
        return words

    return call


def starts(folder: Path) -> dict[str, int]:
    """How often each run was begun, by its ledger."""
    return {
        path.parent.name: sum("devices" in json.loads(line) for line in path.read_text().splitlines())
        for path in folder.glob("cells/*/ledger.jsonl")
    }


def _losses(folder: Path) -> list[str]:
    """What the table says of every cell."""
    with (folder / "table.csv").open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


def trained(folder: Path) -> int:
    """The steps that unfinished cells have gone."""
    done = {path.stem for path in folder.glob("state/*.json")}
    logs = [path for path in folder.glob("cells/*/metrics.jsonl") if path.parent.name not in done]
    return sum(path.read_text().count("examples_per_second") for path in logs)


def kill(process: subprocess.Popen, folder: Path, done: int, steps: int, number: signal.Signals) -> None:
    """Sends a signal when so many cells are done and the next one has gone so many steps."""
    deadline = time.monotonic() + 300
    while len(list(folder.glob("state/*.json"))) < done or trained(folder) < steps:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=200)


KILLS = {
    "two": ((0, signal.SIGKILL), (1, signal.SIGINT)),
    "five": ((0, signal.SIGINT), (0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGINT), (1, signal.SIGKILL)),
}
"""How many cells are done when a signal comes, and which it is."""


@pytest.mark.slow(reason="ten processes, each of which starts JAX")
# Two signals meet a cell that is the first and one that is not, and are of both kinds; five are more of the same.
@pytest.mark.parametrize("kills", ["two", pytest.param("five", marks=pytest.mark.nightly)])
def test_killed_at_random_moments_it_ends_with_the_same_table_and_runs_nothing_twice(
    write_suite, ablate_here, tmp_path, kills
):
    suite, killed, whole = write_suite(60, ONE_SEED), tmp_path / "killed", tmp_path / "whole"
    assert "2 runs, 0 of them done" in ablate_here(suite, whole)
    draw, done_before = random.Random(0), {}
    for done, number in KILLS[kills]:
        process = ablate(suite, killed, "--jobs", "1")
        # Of those that follow on one another, each goes on where the one before was stopped.
        kill(process, killed, done, trained(killed) % 40 + draw.randint(3, 9), number)
        for place, before in done_before.items():
            assert state_of(killed, place) == before, "a finished cell was touched"
        places = [path.stem for path in killed.glob("state/*.json")]
        done_before = {place: state for place in places if (state := state_of(killed, place)).status == "done"}
        assert len(done_before) == done, "the signal came while a cell was trained"
    finished = {place: state.ended for place, state in done_before.items()}
    begun = starts(killed)
    words = ablate_here(suite, killed, "--jobs", "1")
    assert f"2 runs, {len(finished)} of them done" in words
    for place, ended in finished.items():
        assert state_of(killed, place).ended == ended and starts(killed)[place] == begun[place]
    assert sum(starts(killed).values()) == 2 + len(KILLS[kills]), "each signal has stopped one"
    for place in starts(whole):
        ours, theirs = (json.loads((f / "cells" / place / "evals/losses.json").read_text()) for f in (killed, whole))
        assert ours["metrics"] == theirs["metrics"]
    assert not list(killed.glob("cells/*/damaged*"))
    assert _losses(killed) == _losses(whole) and len(_losses(whole)) == 2


@pytest.mark.slow(reason="three processes start JAX")
def test_a_cell_that_fails_is_told_and_stops_nothing_else(write_suite, ablate_here, tmp_path):
    worse = "\nimport dataclasses\nfrom mmvideo.ablation.suite import named\nbroken = named('layer', {'0': {}, "
    worse += "'1': {'objectives.joint.label': 'mood'}})\nstudy = dataclasses.replace(study, axes=(broken,))\n"
    worse += (
        "tier = dataclasses.replace(tier, studies=(study,), seeds=(0,))\nsuite = Suite('s', 't', 'f', tier, tier)\n"
    )
    folder = tmp_path / "run"
    words = ablate_here(write_suite(2, worse), folder, code=1)
    assert "FAILED" in words and "mood" in words and "[1/2]" in words
    assert state_of(folder, "fusion_0_s0").status == "done" and state_of(folder, "fusion_1_s0").status == "failed"


@pytest.mark.slow(reason="three processes start JAX")
def test_submitit_runs_the_same_cells(write_suite, tmp_path):
    folder = tmp_path / "run"
    more = (
        "--launcher",
        "slurm",
        "--cluster",
        "local",
        "--jobs",
        "2",
        "--slurm",
        "timeout_min=10",
        "--only",
        "layer=1",
    )
    words = said(ablate(write_suite(2, ONE_SEED), folder, *more))
    assert "[1/1]" in words and state_of(folder, "fusion_1_s0").status == "done"


def test_the_plan_of_a_cluster_shows_the_script_and_is_written_down(write_suite, tmp_path):
    more = ["--tier", "paper", "--plan", "--launcher", "slurm", "--slurm", "slurm_partition=gpu", "--slurm", "nodes=2"]
    # Not in this process: submitit takes hold of its streams.
    page = said(ablate(write_suite(), tmp_path / "run", *more, "--out", str(tmp_path / "out")))
    assert "#SBATCH --partition=gpu" in page and "#SBATCH --nodes=2" in page and "submitit.core._submit" in page
    assert "#SBATCH --gpus-per-node=8" in page and "#SBATCH --time=90" in page
    assert "8 x NVIDIA H100" in page and "cells    4, with 2 seeds" in page
    written = (tmp_path / "out" / "plan.md").read_text()
    table = [line.split("|") for line in written.splitlines() if line.startswith("|")]
    assert [row[1].strip() for row in table] == ["layer", "-----", "0", "1"], "seeds cost the same"
    told = dict(zip((word.strip() for word in table[0]), (word.strip() for word in table[2]), strict=True))
    assert told["steps"] == "3" and told["rows a device"] == "1 fit" and told["memory"].endswith("B")
    script = written[written.index("```bash") :]
    assert str(tmp_path) not in script and sys.executable not in script and "srun" in script
    assert "#SBATCH --output=run/submitit/" in script and "corpus" in written


def test_mistakes_are_one_line(write_suite, tmp_path, capsys):
    suite = str(write_suite())
    for more, words in (
        (["--tier", "huge"], "there is no tier 'huge'"),
        (["--only", "layer"], "must be axis=value"),
        (["--only", "layers=1"], "do you mean 'layer'"),
        (["--jobs", "0"], "--jobs must be 1 or more"),
        (["--launcher", "jobset"], "needs --manifest"),
        (["--launcher", "slurm"], "there is no srun here"),
    ):
        assert main(["ablate", suite, "--folder", str(tmp_path / "run"), *more]) == 2
        told = capsys.readouterr().err
        assert words in told and told.count("\n") == 1


def test_a_run_of_other_settings_is_no_cell_of_this_suite(write_suite, tmp_path, capsys):
    """A suite that was changed must not take over what its cells gave before."""
    tier, folder = load_suite(write_suite(steps=3)).toy, tmp_path / "run"
    write_down(folder, runs_of(folder, cells_of(tier), tier.before))
    longer = load_suite(write_suite(steps=5)).toy
    assert len(runs_of(folder, cells_of(longer), longer.before)) == 4, "nothing has begun"
    (folder / "cells" / "fusion_1_s0").mkdir(parents=True)
    assert len(runs_of(folder, cells_of(tier, keep="elsewhere"), tier.before)) == 4
    for more in ([], ["--results"]):
        assert main(["ablate", str(write_suite(steps=5)), "--folder", str(folder), *more]) == 2
        told = capsys.readouterr().err
        assert "fusion_1_s0 was begun with other settings: training.steps (3 there, 5 here)" in told


def test_jobsets_are_filled_in(write_suite, tmp_path):
    tier = load_suite(write_suite()).toy
    runs = runs_of(tmp_path, cells_of(tier), tier.before)
    write_down(tmp_path, runs)
    (first, *others) = write_jobsets(tmp_path, list(runs), ROOT / "tools" / "launch" / "jobset_gpu.yaml")
    text = first.read_text()
    assert len(others) == 3 and "name: fusion-0-s0" in text and f"args: [{tmp_path}, fusion_0_s0]" in text
    assert "nvidia.com/gpu" in text
