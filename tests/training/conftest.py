"""Lets the tests of this folder import the toy that they train, and the streams of the objectives' tests."""

import shutil
import sys
from pathlib import Path

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent / "objectives")]

import pytest  # noqa: E402
from training_toy import LONG, ToyBatches, quick, toy_train  # noqa: E402


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """An uninterrupted run of six steps with checkpoints at 2, 4 and 6: its workdir and last state."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    return workdir, toy_train(workdir, quick(**LONG), ToyBatches())


@pytest.fixture
def copied_run(whole_run, tmp_path):
    """A copy of that workdir, to be damaged."""
    return Path(shutil.copytree(whole_run[0], tmp_path / "run"))
