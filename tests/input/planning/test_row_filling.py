"""Rows that are not full: the advice names a setting and a way to turn it, and holds when it is followed."""

from __future__ import annotations

import dataclasses
import logging
import re

import numpy as np
import pytest

from mmvideo.input.config import Packing
from mmvideo.input.planning.budgets import choose_budgets, fill
from mmvideo.input.planning.packer import pack
from mmvideo.input.planning.row_filling import changes, report_filling


def needs(tokens: np.ndarray) -> np.ndarray:
    """What clips need that hold nothing but so many video tokens."""
    table = np.zeros((len(tokens), 9), np.int64)
    table[:, 0] = table[:, 2] = tokens
    table[:, 1] = 1
    return table


def filled(clips: np.ndarray, packing: Packing) -> float:
    """Share of the token slots, packed as a run packs."""
    budget = choose_budgets(clips, clips.max(axis=0), packing, str)
    return float(fill(clips, int(pack(clips, budget).max()) + 1, budget)[0])


CASES = {
    # clips of 20 to 40 tokens, four a row of 512: the slots for clips run out
    "few slots for clips": (np.random.default_rng(0).integers(20, 41, 400), Packing(tokens=512, clips=4), "clips"),
    # one clip of 64 in a row of 120, where two would need 128
    "one clip a row": (np.full(400, 64), Packing(tokens=120, clips=8), "tokens"),
    # 64 of the 512 slots may be video's, and all clips are video
    "a budget of one modality": (np.full(400, 32), Packing(tokens=512, clips=24, video=64), "video"),
}


@pytest.mark.parametrize("case", CASES)
def test_advice_names_the_setting_that_keeps_rows_from_being_full_and_holds(case: str):
    tokens, packing, setting = CASES[case]
    clips = needs(tokens)
    assert filled(clips, packing) < 0.8
    found = changes(clips, packing)
    assert f"input.packing.{setting}" in found[0].words
    for change in found:
        name, to = re.search(r"input\.packing\.(\w+)(?: from \d+ to (\d+))?", change.words).groups()
        followed = dataclasses.replace(packing, **{name: None if to is None else int(to)})
        assert filled(clips, followed) == pytest.approx(change.filled, abs=0.03) and change.filled >= 0.9
        if to is not None:
            way = "raise" if int(to) > getattr(packing, name) else "lower"
            assert change.words.startswith(way)


def test_rows_that_are_full_get_no_advice(caplog):
    clips, packing = needs(np.full(160, 32)), Packing(tokens=512, clips=24)
    budget = choose_budgets(clips, clips.max(axis=0), packing, str)
    with caplog.at_level(logging.INFO):
        report_filling(clips, 10, budget, packing)
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_the_warning_says_how_full_rows_are_and_what_to_do(caplog):
    clips, packing = needs(np.full(400, 32)), Packing(tokens=512, clips=4)
    budget = choose_budgets(clips, clips.max(axis=0), packing, str)
    report_filling(clips, 100, budget, packing)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("rows are only 25 % full: clips take 32 tokens on average")
    assert "Raise input.packing.clips from 4 to 16 (rows 100% full, more clips a step)" in said
    assert "or lower input.packing.tokens from 512 to 128 (rows 100% full, less work a step)" in said
