"""Cells are read as they ended; claims compare only seeds that have all cells; published numbers find their rows."""

from __future__ import annotations

import dataclasses

import pytest

from mmvideo.ablation.cells import cells_of
from mmvideo.ablation.pages.published_columns import columns, number
from mmvideo.ablation.results import gather, verdict
from mmvideo.ablation.statistics import judge
from mmvideo.ablation.suite import Claim


@pytest.fixture(scope="module")
def study(fusion, folder):
    return gather(fusion, "toy", cells_of(fusion.toy), folder).studies[0]


def row(study, kind, depth):
    return next(row for row in study.rows if row.labels == {"kind": kind, "depth": depth})


def test_a_row_a_point_and_a_cell_a_seed(study):
    assert [tuple(row.labels.values()) for row in study.rows] == [
        (kind, depth) for kind in ("early", "mid & late") for depth in ("1", "2", "3")
    ]
    metric = study.study.metrics[0]
    assert row(study, "mid & late", "2").values(metric) == pytest.approx({0: 0.62, 1: 0.63, 2: 0.66})
    assert row(study, "early", "2").changed == {"model.fusion.scheme": ("mid", "early"), "model.depth": (4, 2)}


def test_what_failed_or_is_missing_is_no_number(study):
    joint, loss = study.study.metrics
    failed, missing = row(study, "early", "1").cells[2], row(study, "early", "2").cells[2]
    assert (failed.status, failed.why) == ("failed", "NonFiniteError: a | loss of <nan>")
    assert (missing.status, missing.why, missing.value(joint)) == ("missing", "it was not run", None)
    assert sorted(row(study, "early", "1").values(joint)) == [0, 1]
    assert sorted(row(study, "mid & late", "3").values(loss)) == [0, 2], "null is no number"


def test_cost_is_measured_without_the_first_line(study):
    one = row(study, "early", "3")
    assert one.median("clips_per_second") == 100.0
    assert one.median("device_bytes") is None and one.median("seconds") == 30.0
    assert (one.cells[0].record.began, one.cells[0].record.ended) == (1000.0, 1010.0)


def test_claims_are_judged_on_seeds_that_have_all_cells(study):
    mid, less, deeper, far = (verdict for _, verdict in study.verdicts)
    assert mid.outcome == judge([0.1, 0.11]).outcome and mid.gain.seeds == 2
    assert mid.gain.mean == pytest.approx(0.105)
    assert "2 of 3 seeds" in mid.why and "kind=early, depth=1" in mid.why and "kind=early, depth=3" not in mid.why
    assert less.outcome == "not measured" and less.gain.mean == pytest.approx(-0.1), "less is better: a loss of 0.1"
    assert deeper.gain.mean == pytest.approx(0.01) and deeper.outcome == "not settled"
    assert far.outcome == "reversed" and far.p > 0.975


def test_a_claim_of_less_is_turned_round(study):
    claim = Claim("", {"kind": "mid & late", "depth": "3"}, {"kind": "early", "depth": "3"}, "loss", "", "E")
    found = verdict(study.study, study.rows, claim)
    assert found.gain.mean == pytest.approx(0.11) and found.gain.seeds == 2


def test_a_claim_on_cells_that_were_not_asked_for_is_not_measured(fusion, folder):
    some = gather(fusion, "toy", cells_of(fusion.toy, only=[("depth", "3")]), folder).studies[0]
    mid, _, deeper, _ = (verdict for _, verdict in some.verdicts)
    assert mid.outcome == deeper.outcome == "not measured" and "no seed has all cells" in mid.why
    lost = dataclasses.replace(some.study.claims[0], better={"kind": "none"})
    assert verdict(some.study, some.rows, lost).why == "no cell is kind=none"


def test_published_numbers_find_their_rows(study):
    (column,) = columns(study)
    assert column.name == "mAP" and column.mark == "P"
    assert number(row(study, "early", "1"), column) == 41.5
    assert number(row(study, "early", "3"), column) == 43.0, "the cell that is named more closely"
    assert number(row(study, "mid & late", "1"), column) is None
    assert [one.where["kind"] for one in study.unmatched] == ["nowhere"]


def test_a_state_that_is_not_json_is_told(fusion, tmp_path):
    cells = cells_of(fusion.toy)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / f"{cells[0].place}.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        gather(fusion, "toy", cells, tmp_path)


def test_an_unknown_mark_of_evidence_is_refused():
    with pytest.raises(ValueError, match="mark 'M' of 'later is better' must be one of P, B, C, R, E"):
        Claim("later is better", {"layer": "1"}, {"layer": "0"}, "loss", "nobody", "M")
