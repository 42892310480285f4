"""Benchmarks that must run where little is installed do; weak scaling is reckoned from what runs wrote down."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BARE = """
import sys
absent = "av grain orbax tensorflow_datasets array_record pyarrow sentencepiece pydantic tyro tensorboardX"
for name in (*absent.split(), "matplotlib", "PIL"):
    sys.modules[name] = None
import step, peer, loop
shown = peer.make_inputs(2, 3)
assert shown.stream.content["video"].shape == (2, 8, 1536), "one tube of nine is seen, through eight steps"
assert (shown.hidden.sum(axis=1) == 64).all() and shown.stream.decode.is_token.all()
assert not {"torch", "transformers"} & set(sys.modules), "the peer's libraries are for its part alone"
"""


def test_steps_are_timed_without_what_reads_media_or_keeps_runs():
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tools' / 'bench'}"}
    ran = subprocess.run([sys.executable, "-c", BARE], env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-2000:]


@pytest.fixture
def scaling():
    spec = importlib.util.spec_from_file_location("bench_scaling", ROOT / "tools" / "bench" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_efficiency_is_what_a_process_does_relative_to_the_fewest(scaling, tmp_path):
    for count, speeds in ((2, (1.0, 20.0, 20.0, 22.0)), (8, (1.0, 60.0, 64.0, 90.0))):
        rows = [
            {"step": n, "examples_per_second": speed, "tokens_per_second": 10 * speed} for n, speed in enumerate(speeds)
        ]
        rows.insert(2, {"step": 1, "eval/losses/loss": 3.0})
        (tmp_path / str(count)).mkdir()
        (tmp_path / str(count) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    few, many = scaling.table({count: scaling.speed(tmp_path / str(count)) for count in (8, 2)})
    assert few["processes"] == 2 and few["clips_per_second_per_process"] == 10 and few["clips_efficiency"] == 1
    assert many["clips_per_second_per_process"] == 8 and many["clips_efficiency"] == many["tokens_efficiency"] == 0.8


def test_a_run_too_short_to_measure_is_refused(scaling, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 4, "examples_per_second": 1.0, "tokens_per_second": 2.0}\n')
    with pytest.raises(ValueError, match="fewer than two lines of training"):
        scaling.speed(tmp_path)
