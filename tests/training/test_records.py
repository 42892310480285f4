"""The small files of a workdir and the lines on the screen."""

from __future__ import annotations

import io
import json
import time

import pytest
from training_toy import ToyBatches, quick, toy_train

from mmvideo.records.lines import read_lines, write_lines
from mmvideo.training.logging.metric_writers import summarise
from mmvideo.training.logging.progress import Progress, clock, short
from mmvideo.training.logging.time_ledger import TimeLedger, lost_work, productive_seconds
from mmvideo.training.workdir import WorkdirError, create_or_validate_workdir


def stretch(first, last, wall):
    return {"run": 1, "from_step": first, "to_step": last, "wall": wall}


def test_work_past_the_resumed_step_is_lost_once():
    lines = [stretch(0, 10, 5.0), stretch(10, 20, 8.0), stretch(20, 30, 9.0)]
    assert lost_work(lines, 30) == (0, 30)
    assert lost_work(lines, 15) == (4.0 + 9.0, 30)
    resumed = [*lines, {"run": 2, "from_step": 15, "to_step": 30, "lost": 13.0}, stretch(15, 25, 6.0)]
    assert lost_work(resumed, 15) == (6.0, 25)
    assert lost_work(resumed, 5) == (2.5 + 4.0 + 6.0, 25)


def test_nested_phases_are_booked_once(tmp_path):
    ledger = TimeLedger(tmp_path / "ledger.jsonl")
    with ledger.phase("evaluation"), ledger.phase("wait"):
        sum(range(100_000))
    assert list(ledger.timed_iter([1, 2])) == [1, 2]
    spent = ledger.write(3)
    (line,) = read_lines(tmp_path / "ledger.jsonl")
    assert line["wall"] == pytest.approx(sum(spent.values()), rel=1e-9)
    assert spent["wait"] > spent["evaluation"] and spent["wait"] < ledger.elapsed
    assert TimeLedger(tmp_path / "ledger.jsonl").begin(1) == pytest.approx(line["wall"] * 2 / 3)


def test_goodput_is_what_the_model_has_of_all_the_time_since_the_first_start(tmp_path):
    """100 s ago a run began, took 60 s to step 20 and was killed; it goes on from step 10."""
    now = time.time()
    lines = [
        {**stretch(0, 10, 40.0), "at": now - 60, "init": 10.0, "step": 20.0, "skipped": 2, "spikes": 1, "goodput": 0.1},
        {**stretch(10, 20, 20.0), "at": now - 40, "step": 16.0, "wait": 4.0},
    ]
    assert productive_seconds(lines, 20) == pytest.approx(20.0 * 0.7 + 16.0)
    assert productive_seconds(lines, 15) == pytest.approx(20.0 * 0.7 + 8.0)
    write_lines(tmp_path / "ledger.jsonl", lines)
    beats = []
    ledger = TimeLedger(tmp_path / "ledger.jsonl", beats.append)
    assert ledger.begin(10, {"devices": 8}) == pytest.approx(20.0)
    assert ledger.goodput == pytest.approx(0.14, abs=1e-3) and ledger.since_first == pytest.approx(100.0, abs=1.0)
    resumed = read_lines(tmp_path / "ledger.jsonl")[-1]
    assert (
        resumed["devices"] == 8
        and resumed["lost"] == pytest.approx(20.0)
        and resumed["down"] == pytest.approx(40.0, abs=1.0)
    )
    with ledger.phase("step"), ledger.phase("wait"):
        pass
    assert beats == ["step", "wait", "step", "other"]
    ledger.write(12, skipped=1)
    last = read_lines(tmp_path / "ledger.jsonl")[-1]
    assert last["skipped"] == 1 and "spikes" not in last and last["goodput"] == pytest.approx(0.14, abs=1e-3)
    again = productive_seconds(read_lines(tmp_path / "ledger.jsonl"), 12)
    assert again == pytest.approx(14.0 + last["step"] / 2)


def test_a_window_averages_the_good_steps():
    step = {"learning_rate": 0.1, "clips": 4.0, "tokens": 30.0, "slots": 40.0, "skipped": 0.0, "skipped_total": 0.0}
    window = [
        {**step, "train/loss": 1.0},
        {**step, "train/loss": float("nan"), "skipped": 1.0, "skipped_total": 1.0},
        {**step, "train/loss": 3.0, "learning_rate": 0.2, "skipped_total": 1.0},
    ]
    row = summarise(window, seconds=2.0)
    assert row["train/loss"] == 2.0 and row["learning_rate"] == 0.2 and row["padding"] == 0.25
    assert row["examples_per_second"] == 6.0 and row["tokens_per_second"] == 45.0 and row["skipped_steps"] == 1


def test_a_log_gets_plain_lines():
    out = io.StringIO()
    progress = Progress(0, 100, out)
    row = {"train/loss": 1.5, "examples_per_second": 12.0, "tokens_per_second": 9800.0, "padding": 0.04}
    progress.update({"step": 10, **row})
    progress.update({"step": 20, **row, "skipped_steps": 2, "unreadable_clips": 1})
    first, second = out.getvalue().splitlines()
    assert first == "step 10/100  loss 1.5  12 clips/s  9.8k tokens/s  padding 4%"
    assert "2 steps skipped  1 clips unreadable" in second and second.endswith(" left")


def test_a_terminal_gets_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    progress = Progress(0, 10, out)
    progress.update(
        {"step": 10, "train/loss": 1.5, "examples_per_second": 1.0, "tokens_per_second": 2.0, "padding": 0.5}
    )
    progress.say("done: [all] of it")
    progress.close()
    assert "10/10" in out.getvalue() and "loss 1.5" in out.getvalue() and "done: [all] of it" in out.getvalue()


def test_numbers_for_people():
    assert [short(n) for n in (3.14159, 9800, 2.5e6, 7e9)] == ["3.14", "9.8k", "2.5M", "7G"]
    assert clock(3723) == "1:02:03" and clock(59.6) == "0:01:00"


def test_half_a_line_is_no_line(tmp_path):
    path = tmp_path / "lines.jsonl"
    write_lines(path, [{"step": 1}, {"step": 2}])
    with path.open("a") as file:
        file.write('{"step": 3, "tra')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]
    assert [item.name for item in tmp_path.iterdir()] == ["lines.jsonl"]


def test_settings_that_differ_are_listed(tmp_path):
    def settings(**changes):
        return json.dumps({"training": {"steps": 10, "keep": 2}, "model": {"width": 8, "taps": [1, 2]}} | changes)

    create_or_validate_workdir(tmp_path, settings())
    create_or_validate_workdir(tmp_path, settings(training={"steps": 20, "keep": 5}))
    with pytest.raises(WorkdirError, match=r"training\.steps \(20 there, 10 here\)"):
        create_or_validate_workdir(tmp_path, settings())
    with pytest.raises(WorkdirError, match=r"model\.taps\.1 \(2 there, 3 here\); model\.width \(8 there, \"absent"):
        create_or_validate_workdir(tmp_path, settings(training={"steps": 20, "keep": 5}, model={"taps": [1, 3]}))
    create_or_validate_workdir(
        tmp_path, settings(training={"steps": 20, "keep": 5}, model={"width": 9, "taps": [1, 2]}), ["model.*"]
    )
    (tmp_path / "config.json").write_text('{"training": ')
    with pytest.raises(WorkdirError, match="is not JSON"):
        create_or_validate_workdir(tmp_path, settings())


SEPARATORS = "\u2028\u2029\u0085\v\f\x1c\x1d\x1e"
"""What Python's `splitlines` takes for the end of a line besides the newline; some of them JSON writes as they are."""


def test_only_a_newline_ends_a_line(tmp_path):
    rows = [{"id": f"one{SEPARATORS}", "step": 1}, {"id": "two\u2028", "step": 2}]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    assert len(text.splitlines()) > 2
    (tmp_path / "lines.jsonl").write_text(text, encoding="utf-8")
    assert read_lines(tmp_path / "lines.jsonl") == rows


def test_a_run_says_what_it_does_before_its_first_line(tmp_path, capsys):
    toy_train(tmp_path / "run", quick(steps=3, log_every=3), ToyBatches(), on_progress=None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "preparing the first batch" and lines[1].startswith("compiling the step")
    assert lines[2].startswith("first step: loss ") and lines[2].endswith(" s from compiling to its end")
    assert lines[3].startswith("step 3/3  loss") and "waiting" in lines[3]
    toy_train(tmp_path / "run", quick(steps=3, log_every=3), ToyBatches(), on_progress=None)
    assert "compiling" not in capsys.readouterr().out, "nothing is left to be done"
