"""Waiting for data: the share on the progress line, and advice that follows from what was measured."""

from __future__ import annotations

import pytest

from mmvideo.training.logging.data_wait import DataWait, waiting_share
from mmvideo.training.logging.progress import describe


def watched(threads: int, cores: int, used: float, load: float) -> DataWait:
    """A watch over a process that has used so many cores of a machine with such a load for a minute."""
    clock, processor = iter((0.0, 60.0)), iter((0.0, 60.0 * used))
    return DataWait(threads, cores, clock=lambda: next(clock), processor=lambda: next(processor), load=lambda: load)


def spent(wait: float, step: float) -> dict[str, float]:
    return {"wait": wait, "step": step, "checkpoint": 0.0, "other": 0.0}


@pytest.mark.parametrize(
    ("threads", "cores", "wait", "step", "words"),
    [
        (1, 8, 50.0, 10.0, "83% of the time goes into waiting for data: more threads may prepare it sooner; "
         "stop, and go on with --input.threads 6 (it has 1, on 8 cores)"),
        (1, 2, 50.0, 10.0, "--input.threads 2 (it has 1, on 2 cores)"),
        (2, 2, 50.0, 10.0, "more than 2 threads on 2 cores would not help; smaller files would"),
    ],
)  # fmt: skip
def test_advice_says_which_way_and_to_what(threads, cores, wait, step, words):
    found = watched(threads, cores, used=cores, load=cores)
    assert found.advise(spent(100.0, 1.0)) is None, "the first stretch waits for the first batch"
    assert words in found.advise(spent(wait, step))
    assert found.advise(spent(wait, step)) is None, "once is enough"


@pytest.mark.parametrize(
    ("used", "load", "words"),
    [
        (0.4, 0.5, "--input.threads 16 (it has 8, on 8 cores, which are mostly idle: storage may be slow)"),
        (3.0, 3.0, "--input.threads 16 (it has 8"),
        (7.5, 8.0, "would not help"),
        (0.4, 9.0, "would not help"),  # Others use the machine.
        (1.0, 1.0, "would not help"),  # A core's worth: Python's lock.
    ],
)
def test_threads_that_wait_for_storage_are_told_from_those_that_lack_cores(used, load, words):
    found = watched(8, 8, used, load)
    found.advise(spent(1.0, 1.0))
    assert words in found.advise(spent(50.0, 10.0))


def test_no_advice_where_little_is_waited_for_or_too_little_is_known():
    found = DataWait(1, 8)
    found.advise(spent(1.0, 1.0))
    assert found.advise(spent(1.0, 0.5)) is None, "a second and a half is chance"
    assert found.advise(spent(0.1, 100.0)) is None
    unknown = DataWait(None, 8)
    unknown.advise(spent(1.0, 1.0))
    assert unknown.advise(spent(50.0, 1.0)) is None


def test_the_share_is_on_the_line_of_progress():
    assert waiting_share(spent(58.0, 2.0)) == pytest.approx(58 / 60)
    row = {"train/loss": 1.5, "examples_per_second": 12.0, "tokens_per_second": 9800.0, "padding": 0.04}
    assert describe(row | {"waiting": 0.966}).endswith("padding 4%  waiting 97%")
