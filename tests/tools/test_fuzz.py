"""The fuzzer: it damages real clips, and finds a reader that crashes, hangs, or raises what it must not."""

from __future__ import annotations

import importlib.util
import json
import os
import random
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz():
    import sys

    spec = importlib.util.spec_from_file_location("fuzz", TOOL)
    sys.modules["fuzz"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["fuzz"]


def test_a_few_damaged_files_give_frames_or_one_kind_of_error(tmp_path):
    import subprocess
    import sys

    command = [sys.executable, str(TOOL), "--files", "40", "--seed", "5"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = json.loads(ran.stdout.split("\n")[0])
    assert ran.returncode == 0, ran.stdout
    assert told["files"] == 40 and told["wrong"] == 0 and told["fine"] + told["MediaError"] == 240
    assert told["fine"] > 40 and told["MediaError"] > 20  # Neither all harmless nor all refused.
    assert 0 < told["peak_mb"] < 1536


def test_the_seed_gives_the_damage(fuzz):
    content = bytes(range(256)) * 64
    first, again = (fuzz.damage(content, random.Random(3)) for _ in range(2))
    assert first == again != content
    assert len({fuzz.damage(content, random.Random(seed)) for seed in range(50)}) > 45


def crash(tasks, results):
    """A worker that dies of its first file."""
    tasks.get()
    os.abort()


def hang(tasks, results):
    """A worker that never comes back."""
    import time

    tasks.get()
    time.sleep(60)


def raw(tasks, results):
    """A worker whose readers let a library's error out, and that takes too much memory."""
    while (task := tasks.get()) is not None:
        results.put((task, {"probe": "fine", "decode": "MemoryError: "}, 2 << 30))


@pytest.mark.parametrize(
    ("worker", "told"),
    [(crash, "ends the process (-6)"), (hang, "hangs for"), (raw, "decode: MemoryError"), (raw, "holds 2048 MB")],
)
def test_what_must_not_be_is_found(fuzz, tmp_path, monkeypatch, worker, told):
    monkeypatch.setattr(fuzz, "work", worker)
    monkeypatch.setattr(fuzz, "PATIENCE", 0.5)
    monkeypatch.setattr(fuzz, "IMPORTS", 2.0)
    monkeypatch.setattr(fuzz.multiprocessing, "get_context", lambda _: multiprocessing_fork())
    _, wrong, _ = fuzz.read_all([tmp_path / "a.mp4"])
    assert any(told in line for line in wrong), wrong


def multiprocessing_fork():
    """Forked workers, so that those of this file are found."""
    import multiprocessing.context

    return multiprocessing.context.ForkContext()
