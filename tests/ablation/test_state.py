"""The file that says how a cell ended is sealed: a changed byte of it is told of, and the cell counts as not ended."""

from __future__ import annotations

import json

import pytest

from mmvideo.ablation.worker import STATE, State, _say_once, _write, state_of


@pytest.fixture
def cell(tmp_path):
    _write(tmp_path, "fusion_0_s0", "done", None)
    return tmp_path, tmp_path / STATE / "fusion_0_s0.json"


def test_a_flipped_bit_of_a_state_is_told_of(cell, capsys):
    folder, path = cell
    whole, known = path.read_bytes(), state_of(folder, "fusion_0_s0")
    assert known.status == "done"
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        _say_once.cache_clear()
        found, said = state_of(folder, "fusion_0_s0"), capsys.readouterr().err
        # A flip in a space changes nothing.
        assert found == known if found else str(path) in said and "run again" in said, place


def test_a_state_of_before_there_were_seals_is_read(cell):
    folder, path = cell
    known = json.loads(path.read_text())
    del known["sha256"]
    path.write_text(json.dumps(known))
    assert state_of(folder, "fusion_0_s0") == State(**known)
