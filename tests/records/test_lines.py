"""Lines of JSON: a changed byte anywhere costs a line, never more, and is said."""

from __future__ import annotations

import json

import pytest

from mmvideo.records.lines import append_line, read_lines, scan, write_lines

ROWS = [{"step": step, "loss": 1.5 / (step + 1), "name": "a → b"} for step in range(6)]


@pytest.fixture
def file(tmp_path):
    write_lines(tmp_path / "metrics.jsonl", ROWS)
    return tmp_path / "metrics.jsonl"


def test_what_was_written_comes_back(file, capsys):
    assert read_lines(file) == ROWS
    append_line(file, {})
    append_line(file, {"more": None})
    assert read_lines(file) == [*ROWS, {}, {"more": None}]
    assert capsys.readouterr().err == ""


def test_every_flipped_bit_is_said_and_costs_two_lines_at_most(file, capsys):
    sound = file.read_bytes()
    for place in range(len(sound)):
        for bit in (1, 4, 32, 128):
            broken = bytearray(sound)
            broken[place] ^= bit
            file.write_bytes(broken)
            found = scan(file)
            assert found.damaged, (place, bit)
            assert len(found.objects) >= len(ROWS) - 2
            assert all(item in ROWS for item in found.objects), (place, bit)


def test_damaged_lines_are_counted_and_said_once(file, capsys):
    lines = file.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"step", b"st%p")
    lines[3] = b"\xff" + lines[3]
    file.write_bytes(b"\n".join(lines))
    assert [row["step"] for row in read_lines(file)] == [0, 2, 4, 5]
    assert "2 of 6 lines are damaged and left out (line 2, 4)" in capsys.readouterr().err
    read_lines(file)
    assert capsys.readouterr().err == ""


def test_a_half_written_line_is_said_and_the_next_one_stays_apart(file, capsys):
    file.write_bytes(file.read_bytes()[:-20])
    assert read_lines(file) == ROWS[:-1]
    assert "line 6, the last, is half-written" in capsys.readouterr().err
    append_line(file, {"step": 6})
    assert read_lines(file) == [*ROWS[:-1], {"step": 6}]


def test_a_file_of_before_there_were_checksums_is_read(tmp_path, capsys):
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [*ROWS, {"caption": "a\u2028b"}]))
    append_line(path, {"step": 7})
    assert read_lines(path) == [*ROWS, {"caption": "a\u2028b"}, {"step": 7}]
    assert capsys.readouterr().err == ""


def test_what_a_line_needs_is_looked_at(tmp_path, capsys):
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"at": 3}\n{"a%": 3}\n{"at": "3"}\n{"at": true}\n[3]\n')
    assert read_lines(path, {"at": (int, float)}) == [{"at": 3}]
    assert "4 of 5 lines are damaged" in capsys.readouterr().err
