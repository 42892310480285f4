"""The plugins of the test suite: the order of test files, the guard against slow tests, what is kept between runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kept_folder import DAYS, code_digest, kept_folder, remove_unused

HERE = Path(__file__).parent
BUSY = "import time\ndef test_busy():\n    end = time.process_time() + 0.3\n    while time.process_time() < end: pass\n"
EXPLAINED = "import pytest\n" + BUSY.replace("def test", '@pytest.mark.slow(reason="needs it")\ndef test')


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that runs pytest with both plugins on files given by name and text."""
    monkeypatch.setenv("MMVIDEO_TEST_CACHE", str(tmp_path / "kept"))
    for name in list(os.environ):
        if name.startswith("PYTEST_"):
            monkeypatch.delenv(name)

    def call(files: dict[str, str], *options: str) -> subprocess.CompletedProcess:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "pytest.ini").write_text("[pytest]\nmarkers = slow(reason): takes long\n")
        for name, text in files.items():
            (folder / name).write_text(text)
        command = [sys.executable, "-m", "pytest", "-p", "time_guard", "-p", "longest_first", "-v", *options]
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    return call


def test_a_slow_test_needs_a_reason(run):
    done = run({"test_a.py": BUSY, "test_b.py": EXPLAINED}, "--fail-slow", "0.1")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "test_a.py::test_busy took 0." in done.stdout and "say why it needs them" in done.stdout


def test_a_marker_without_a_reason_is_refused(run):
    done = run({"test_a.py": EXPLAINED.replace('reason="needs it"', "")})
    assert done.returncode == 1
    assert "a slow test says why" in done.stdout


def test_the_longest_files_run_first_and_times_are_kept(run, tmp_path):
    quick = "def test_one(): pass\ndef test_two(): pass\n"
    files = {"test_a.py": quick, "test_b.py": BUSY, "test_c.py": EXPLAINED}
    first = run(files).stdout
    # Never run before, a test marked slow is taken to last longest.
    assert first.index("test_c.py::") < first.index("test_a.py::") < first.index("test_b.py::")
    times = json.loads(next((tmp_path / "kept").rglob("durations.json")).read_text())
    assert times["test_b.py::test_busy"] >= 0.3 and len(times) == 4
    again = run(files | {"test_a.py": quick.replace("pass", "import time; time.sleep(0.5)")}).stdout
    assert again.index("test_b.py::") < again.index("test_a.py::")
    last = run(files).stdout
    assert last.index("test_a.py::") < last.index("test_b.py::")


def test_what_is_not_used_for_long_is_removed(tmp_path):
    old, new = tmp_path / "programs" / "old", tmp_path / "new"
    for file in (old, new):
        file.parent.mkdir(exist_ok=True)
        file.write_text("x")
    long_ago = time.time() - (DAYS + 1) * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    remove_unused(tmp_path)
    assert new.exists() and not old.exists()
    remove_unused(tmp_path / "absent")


def test_other_code_has_another_digest(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("1")
    before = code_digest(tmp_path)
    (tmp_path / "a.py").write_text("2")
    assert code_digest(tmp_path) != before
    monkeypatch.setenv("MMVIDEO_TEST_CACHE", str(tmp_path / "there"))
    assert kept_folder().parent == tmp_path / "there"
