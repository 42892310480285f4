"""Cores that this process may use: its bound cores, and those of its container's quota."""

from __future__ import annotations

import os

import pytest

from mmvideo.parallel.cores import usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_that_is_bound_to_one_core_has_one(tmp_path):
    bound = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(bound)})
        assert usable_cores(tmp_path / "missing") == 1
    finally:
        os.sched_setaffinity(0, bound)
    assert usable_cores(tmp_path / "missing") == len(bound)


@pytest.mark.parametrize(
    ("text", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None), ("?", None)]
)
def test_a_container_has_as_many_as_its_quota(text, most, tmp_path):
    quota = tmp_path / "cpu.max"
    quota.write_text(text + "\n")
    assert usable_cores(quota) == (most or usable_cores(tmp_path / "missing"))
