"""Memory grows linearly in chunks and quadratically without, by XLA's own account; nothing of it is run."""

import importlib.util
from pathlib import Path

import pytest

SIZES = (1024, 2048, 4096)


@pytest.fixture(scope="module")
def memory():
    path = Path(__file__).parents[2] / "tools" / "bench" / "memory.py"
    spec = importlib.util.spec_from_file_location("bench_memory", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("subject", ["attention", "sigmoid loss"])
def test_memory_is_linear_in_chunks_only(memory, subject):
    measure, _, _ = memory.SUBJECTS[subject]
    whole, chunked = ([measure(size, chunk) for size in SIZES] for chunk in (None, 128))
    assert memory.growth(SIZES, chunked) <= memory.LINEAR
    assert memory.growth(SIZES, whole) > 1.75
    assert chunked[-1] < whole[-1] / 2
