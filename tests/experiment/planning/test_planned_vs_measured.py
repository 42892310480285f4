"""What was planned beside what was measured, from records written by hand."""

from __future__ import annotations

import json

import pytest

from mmvideo.cli.main import main
from mmvideo.cost_model.devices import DEVICES
from mmvideo.experiment.config import to_json
from mmvideo.experiment.planning.plan import clip_flops, load, plan
from mmvideo.experiment.planning.planned_vs_measured import planned_and_measured, utilisation_of_a_token

H100 = "NVIDIA H100 80GB HBM3"


def write(workdir, kind, devices, **more):
    """The record of a run that was started twice: the first line after a start is slow."""
    (workdir / "ledger.jsonl").write_text(
        "\n".join(
            json.dumps(line)
            for line in (
                {"run": 1, "from_step": 0, "to_step": 0, "at": 0.0, "devices": 1, "kind": "cpu", "processes": 1},
                {"run": 1, "from_step": 0, "to_step": 10, "at": 1.0, "wall": 1800.0, "wait": 30.0, "step": 270.0},
                {"run": 2, "from_step": 10, "to_step": 10, "at": 2.0, "devices": devices, "kind": kind, "lost": 0.0},
                {"run": 2, "from_step": 10, "to_step": 40, "at": 3.0, "wall": 1800.0, "wait": 70.0, "step": 630.0},
            )
        )
        + "\n"
    )
    seconds = {10: 90.0, 20: 8.0, 30: 2.0, 40: 2.0}
    lines = [
        {
            "step": step,
            "seconds_per_step": each,
            "examples_per_second": 24 / each,
            "tokens_per_second": 1500 / each,
            "padding": 0.25,
            **more,
        }
        for step, each in seconds.items()
    ]
    (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")


@pytest.mark.slow(reason="plans the run that was measured")
def test_the_last_start_counts_and_its_first_line_not_for_speed(tiny, tmp_path):
    write(tmp_path, "cpu", 1)
    found = {figure.name: figure for figure in planned_and_measured(tiny, tmp_path)}
    planned = plan(tiny, 1)
    run = planned.run
    assert found["clips a step"].measured == "24.0" and found["clips a step"].planned == f"{run.clips:,}"
    assert found["tokens a step"].measured == "1,500" and found["tokens a step"].planned == f"{run.tokens:,}"
    assert found["padding"].measured == "25.0%"
    assert found["a step"].measured == "2 s" and found["a step"].planned == "", "nobody plans for a CPU"
    assert found["bytes on a device"].planned == f"{planned.memory.total / 2**30:,.3g} GiB"
    assert found["bytes on a device"].measured == "" and "not reported" in found["bytes on a device"].how
    assert found["waiting for data"].measured == "10.0%" and found["the run"].measured == "1 h"
    flops = clip_flops(tiny) * run.clips
    assert float(found["model FLOPs a step"].planned) == pytest.approx(flops, rel=0.01)
    assert float(found["model FLOPs a step"].measured) == pytest.approx(flops * 1500 / run.tokens, rel=0.01)


@pytest.mark.slow(reason="plans the run that was measured")
def test_an_accelerator_has_its_utilisation_and_bytes_beside_the_planned_ones(tiny, tmp_path, capsys):
    token = utilisation_of_a_token(tiny, H100, 8)
    run = load(tiny)
    assert token * DEVICES["h100"].flops * 8 * run.tokens == pytest.approx(run.clips * clip_flops(tiny))
    assert utilisation_of_a_token(tiny, "cpu", 8) is None
    write(tmp_path, H100, 8, mfu=0.31, peak_device_bytes=3 * 2**30)
    (tmp_path / "config.json").write_text(to_json(tiny))
    assert main(["plan", str(tmp_path)]) == 0
    page = capsys.readouterr().out
    assert "this run" in page and "0.31" in page and "3 GiB" in page and f"median, on 8 x {H100}"[:20] in page


def test_a_workdir_that_has_measured_nothing_has_no_figures(tiny, tmp_path):
    assert planned_and_measured(tiny, tmp_path) == []
