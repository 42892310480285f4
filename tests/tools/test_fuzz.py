"""The fuzzer: it damages real clips, and finds a reader that crashes, hangs, or raises what it must not."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path

import fuzz_workers
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


@pytest.mark.parametrize(
    ("worker", "patience", "told"),
    [
        (fuzz_workers.crash, 60.0, "ends the process (-6)"),
        (fuzz_workers.hang, 1.0, "hangs for"),
        (fuzz_workers.raw, 60.0, "decode: MemoryError"),
        (fuzz_workers.raw, 60.0, "holds 2048 MB"),
    ],
)
def test_what_must_not_be_is_found(fuzz, tmp_path, monkeypatch, worker, patience, told):
    monkeypatch.setattr(fuzz, "work", worker)
    monkeypatch.setattr(fuzz, "PATIENCE", patience)
    monkeypatch.setattr(fuzz, "IMPORTS", 0.0)
    _, wrong, _ = fuzz.read_all([tmp_path / "a.mp4"])
    assert any(told in line for line in wrong), wrong
