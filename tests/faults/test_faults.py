"""A few of each of the faults of `tools/faults.py`: killed, corrupted, stopped and fed NaN, a run loses nothing."""

from __future__ import annotations

import random

import faults
import pytest


def test_flipped_bits_are_found_and_the_step_before_comes_back(tmp_path):
    row = faults.flip_over_and_over(tmp_path, 6, random.Random(1))
    assert (row.done, row.fine) == (6, 6), row.note


def test_nans_are_skipped_and_counted(tmp_path):
    row = faults.skip_nans(tmp_path)
    assert (row.done, row.fine) == (5, 5), row.note


@pytest.mark.slow(reason="processes start JAX and are killed")
# The second kill meets a run that has resumed once; those after it are more of the same.
@pytest.mark.parametrize("kills", [2, pytest.param(5, marks=pytest.mark.nightly)])
def test_kills_at_random_moments_lose_no_more_than_the_save_in_flight(tmp_path, kills):
    row = faults.kill_over_and_over(tmp_path, kills, random.Random(2))
    assert (row.done, row.fine) == (kills, kills), row.note


@pytest.mark.slow(reason="two processes start JAX")
def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(tmp_path):
    row = faults.stop_one_of_two(tmp_path, resume=False)
    assert (row.done, row.fine) == (1, 1), row.note


@pytest.mark.parametrize("flip", [faults.flip_corpus, faults.flip_kept, faults.flip_records])
def test_flipped_bits_of_corpora_kept_batches_and_records_are_told_of(tmp_path, flip):
    row = flip(tmp_path, 12, random.Random(3))
    assert (row.done, row.fine) == (12, 12), row.note
