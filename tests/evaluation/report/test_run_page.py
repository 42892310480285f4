"""The page of a run: whole, self-contained, and shown by a real browser."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from mmvideo.evaluation.report.parts.curves import Chart, draw, loss_charts, nice_ticks, smoothed
from mmvideo.evaluation.report.parts.goodput import account, goodput
from mmvideo.evaluation.report.parts.images import HIDDEN, coloured, heated, strip
from mmvideo.evaluation.report.parts.markup import duration, number, p_value
from mmvideo.evaluation.report.parts.metric_tables import retrieval_table
from mmvideo.evaluation.report.run_data import (
    AttentionView,
    ClipView,
    GalleryQuery,
    Ranked,
    Reconstruction,
    ReportData,
    read_run,
)
from mmvideo.evaluation.report.run_page import page, write_report
from mmvideo.evaluation.retrieval.recall_at_k import directions_of, retrieval, sides

SECTIONS = [
    "summary", "retrieval", "probes", "gallery", "curves", "reconstruction",
    "attention", "throughput", "time", "skipped", "config",
]  # fmt: skip


def _metrics(steps: int = 200) -> list[dict]:
    draw = np.random.default_rng(0)
    rows = []
    for step in range(1, steps + 1):
        fall = math.exp(-step / 60)
        rows.append({
            "step": step, "seconds": 0.5 * step, "train/loss": 3 + 2 * fall + 0.1 * draw.normal(),
            "train/contrastive/loss": 2 + 1.5 * fall, "train/contrastive/temperature": 0.07,
            "train/masked_patches/video/loss": 0.6 + 0.5 * fall, "train/masked_patches/video/mean_loss": 0.9,
            "train/masked_patches/video/clips": 40.0,
            "examples_per_second": 80.0, "tokens_per_second": 9000.0, "padding": 0.06, "grad_norm": 1.0 + fall,
            "learning_rate": 1e-3 if step != 20 else None,
        })  # fmt: skip
    return rows


def _frames(steps: int, side: int = 32) -> np.ndarray:
    t, y, x = np.mgrid[:steps, :side, :side]
    disc = (y - side / 2) ** 2 + (x - side * (0.2 + 0.6 * t / steps)) ** 2 < (side / 6) ** 2
    return np.where(disc[..., None], np.array([230, 90, 60]), np.array([30, 40, 60])).astype(np.uint8)


@pytest.fixture(scope="module")
def data() -> ReportData:
    draw = np.random.default_rng(0)
    text = draw.normal(size=(60, 16))
    vectors = {"text": text, "video": text + draw.normal(size=text.shape), "audio": draw.normal(size=text.shape)}
    vectors = {name: (v / np.linalg.norm(v, axis=1, keepdims=True)).astype(np.float32) for name, v in vectors.items()}
    present = {name: np.ones(60, bool) for name in vectors}
    both = directions_of(sides(vectors, present), 60)
    found = retrieval(both, {"text_to_video/r@1": 0.8, "text_to_video/r@5": 1.0})
    head = {"dataset": "shapes", "split": "test", "checkpoint_step": 200, "clips": 60, "protocol": {}}
    probe = {"accuracy": 0.8, "macro_accuracy": 0.78, "chance": 0.2, "p_value": 1e-9, "clips": 60, "left_out": 0}
    probes = {f"visual/video/{kind}/{name}": value for kind in ("linear", "knn") for name, value in probe.items()}
    clips = [ClipView(f"clip-{k}", f"a <red> circle & bounces {k}", None, _frames(4)[0]) for k in range(6)]
    ranked = [Ranked(clip, place, 0.9 - 0.1 * place, place == 2) for place, clip in enumerate(clips[:5], 1)]
    gallery = [
        GalleryQuery(a, b, clips[1], ranked, 60) for a, b in (("text", "video"), ("audio", "video"), ("video", "text"))
    ]
    sound = draw.normal(size=(40, 16)).astype(np.float32)
    hole = sound.copy()
    hole[8:24] = np.nan
    pictures = [
        Reconstruction("clip-1", "video", _frames(4) // 2, _frames(4), _frames(4), 0.5),
        Reconstruction("clip-1", "audio", hole, sound * 0.5, sound, 0.4, "Judge the structure."),
    ]
    weights = draw.random((2, 4, 4)).astype(np.float32)
    looks = AttentionView("clip-1", "a red circle", "text", 3, _frames(4), weights / weights.sum(), {"video": 1.0})
    ledger = [
        {"wall": 10.0, "step": 7.0, "wait": 1.0, "compile": 2.0, "init": 0.0},
        {"lost": 3.0, "from_step": 1, "to_step": 2},
    ]
    return ReportData(
        "shapes & sounds", [("clips", "60")], '{"name": "x </pre><script>alert(1)</script>"}', _metrics(),
        {"retrieval": {**head, "metrics": found}, "probes": {**head, "metrics": probes}}, ledger, gallery,
        pictures, [looks], [("clip-9", "cannot be decoded: <nothing>")],
    )  # fmt: skip


def test_the_page_is_whole_and_needs_nothing_else(data, tmp_path, parse):
    path = write_report(tmp_path, data)
    assert path == tmp_path / "report.html"
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"], "no draft stays behind"
    text = path.read_text()
    parsed = parse(text)
    assert parsed.sections == SECTIONS
    assert parsed.links == [f"#{name}" for name in SECTIONS]
    assert all(address.startswith(("data:", "#")) for address in parsed.addresses)
    assert not re.search(r"""(?:url\(|@import|//[a-z0-9.-]+\.[a-z]{2,})""", text.split("base64,")[0])
    assert len([address for address in parsed.addresses if address.startswith("data:image/png")]) >= 15


def test_text_of_clips_is_text_not_markup(data):
    whole = page(data)
    assert "alert(1)</script>" not in whole
    assert "a &lt;red&gt; circle &amp; bounces" in whole
    assert "cannot be decoded: &lt;nothing&gt;" in whole


def test_an_empty_run_is_a_page_without_sections(tmp_path, parse):
    parsed = parse(page(ReportData("nothing yet")))
    assert parsed.sections == [] and parsed.links == []


def test_what_is_missing_is_left_out(data, parse):
    only = ReportData("curves only", metrics=data.metrics)
    assert parse(page(only)).sections == ["curves", "throughput"]


def test_an_evaluation_of_some_modalities_alone_says_so(data, parse):
    found = {"retrieval.video+text": data.evaluations["retrieval"]}
    parsed = parse(page(ReportData("run", evaluations=found)))
    assert parsed.sections == ["summary", "retrieval.video+text"] and "Retrieval (video+text)" in parsed.words


def test_an_evaluation_without_its_own_table_is_shown(data, parse):
    other = {**data.evaluations["probes"], "metrics": {"cider": 0.5123, "broken": None}}
    parsed = parse(page(ReportData("run", evaluations={"losses": other})))
    assert parsed.sections == ["losses"]
    assert "0.5123" in parsed.words


def test_retrieval_table_tells_chance_oracle_and_their_share(data, parse):
    metrics = data.evaluations["retrieval"]["metrics"]
    cells = parse(retrieval_table(metrics)).words
    row = "".join(cells).replace("\n", "")
    assert f"{100 * metrics['text_to_video/r@1']:.1f}" in cells
    assert f"{100 * metrics['text_to_video/r@1_expected'] / 0.8:.0f} %" in cells
    assert "oracle R@1" in cells and "text " in cells and "→" in row
    absent = {"video_to_audio/clips": 0, "video_to_audio/left_out": 9}
    assert "No clip has both" in retrieval_table(absent)


def test_run_is_read_back(tmp_path, data, capsys):
    (tmp_path / "evals").mkdir()
    (tmp_path / "config.json").write_text('{"name": "x"}')
    lines = "".join(json.dumps(row) + "\n" for row in data.metrics[:3])
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 4, "train/lo')
    (tmp_path / "evals" / "retrieval.json").write_text(json.dumps(data.evaluations["retrieval"]))
    (tmp_path / "evals" / ".retrieval.json.77").write_text("{")
    (tmp_path / "evals" / "retrieval.predictions.jsonl").write_text('{"id": "a"}\n')
    run = read_run(tmp_path, skipped=data.skipped)
    assert [row["step"] for row in run.metrics] == [1, 2, 3], "a half-written last line is passed over"
    assert list(run.evaluations) == ["retrieval"]
    assert run.name == tmp_path.name and run.skipped == data.skipped and run.ledger == []
    (tmp_path / "metrics.jsonl").write_text("{\n" + lines)
    assert [row["step"] for row in read_run(tmp_path).metrics] == [1, 2, 3], "a damaged line is left out"
    assert "1 of 4 lines are damaged and left out (line 1)" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="no workdir"):
        read_run(tmp_path / "other")


def test_charts_know_their_baselines(data, parse):
    charts = {chart.title: chart for chart in loss_charts(data.metrics)}
    assert list(charts) == ["loss, all objectives", "contrastive · loss", "masked patches · video · loss"]
    assert charts["masked patches · video · loss"].baseline[-1] == 0.9
    assert charts["contrastive · loss"].baseline is None
    drawn = draw(list(charts.values()))
    assert drawn.count('class="baseline"') == 1
    parse(drawn)


def test_a_chart_of_nothing_but_zeros_has_an_axis_that_can_be_read():
    drawn = draw([Chart("share of empty token slots", [1, 2], [0.0, 0.0])])
    assert ">1<" in drawn and "e-" not in drawn


def test_a_chart_of_one_value_and_of_a_gap_is_drawn():
    charts = loss_charts([{"step": 1, "train/loss": 2.0}])
    assert "M" in draw(charts)
    with_gap = [{"step": k, "train/loss": math.nan if k == 2 else 1.0 * k} for k in range(1, 5)]
    drawn = draw(loss_charts(with_gap))
    assert "nan" not in drawn and drawn.count("M") >= 2


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (3.2, 5.9), (-0.3, 0.001), (0.0, 12345.0), (2e-4, 3e-4)])
def test_ticks_are_round_and_enclose(low, high):
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low + 1e-9 and ticks[-1] >= high - 1e-9
    assert 2 <= len(ticks) <= 7
    step = ticks[1] - ticks[0]
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5, 10)


def test_smoothing_keeps_a_line_and_drops_a_spike():
    line = np.linspace(0.0, 1.0, 300)
    spiked = line.copy()
    spiked[150] = 50.0
    np.testing.assert_allclose(smoothed(spiked)[20:-20], line[20:-20], atol=0.01)
    assert smoothed(line[:59]) is None


def test_account_adds_up(parse):
    drawn = account([{"wall": 4.0, "step": 3.0, "wait": 1.0}, {"wall": 4.0, "step": 3.0, "wait": 1.0}, {"lost": 2.0}])
    words = parse(drawn).words
    assert "75.0" in words and "25.0" in words and "6.0 s" in words and "lost" in words
    assert account([]) == ""
    kept = [{"wall": 4.0, "step": 3.0, "goodput": 0.7}, {"down": 90.0, "lost": 0.0}, {"wall": 1.0, "goodput": 0.61}]
    words = parse(account(kept)).words
    assert "down" in words and "90 s" in words and "lost" not in words
    assert goodput(kept) == 0.61 and goodput([{"wall": 4.0}]) is None
    whole = parse(page(ReportData("run", ledger=kept))).words
    assert "61%" in whole and "Goodput 61.0%" in " ".join(whole)


def test_numbers_are_short():
    assert [number(value) for value in (None, 0.012345, 3, 34.56, 512.4, 12_345, 2_500_000)] == [
        "–", "0.0123", "3", "34.6", "512", "12 k", "2.5 M",
    ]  # fmt: skip
    assert [duration(value) for value in (0.25, 3.21, 75, 600, 9000)] == [
        "250 ms",
        "3.2 s",
        "75 s",
        "10.0 min",
        "2.5 h",
    ]
    assert p_value(1e-9) == "&lt; 10⁻⁶" and p_value(0.034) == "0.034"


def test_strip_keeps_first_and_last_frame():
    frames = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 3), np.uint8)
    row = strip(frames, most=4, gap=1)
    assert row.shape == (3, 4 * 2 + 3, 3)
    assert row[0, 0, 0] == 0 and row[0, -1, 0] == 19


def test_spectrogram_stands_upright():
    energies = np.zeros((5, 3), np.float32)
    energies[1, 2] = 1.0  # second step, highest bin
    energies[4, 0] = np.nan
    picture = coloured(energies, 0.0, 1.0, scale=1)
    assert picture.shape == (3, 5, 3)
    assert tuple(np.unravel_index(picture.astype(int).sum(-1).argmax(), (3, 5))) == (0, 1)
    assert (picture[2, 4] == HIDDEN).all()


def test_heat_is_where_the_attention_is():
    weights = np.full((2, 2, 2), 0.01, np.float32)
    weights[1, 0, 1] = 0.93
    hot = heated(np.full((4, 8, 8, 3), 60, np.uint8), weights).astype(int).sum(-1)
    assert hot.shape == (4, 8, 8)
    spot = np.zeros((4, 8, 8), bool)
    spot[2:, :4, 4:] = True
    assert hot[spot].min() > 3 * hot[~spot].max()


@pytest.mark.slow(reason="starts a browser")
def test_a_browser_shows_it(data, tmp_path, browsed):
    """The browser lays out every section, every image decodes, and nothing uses the network."""
    assert browsed(write_report(tmp_path, data)) == "broken=0 flat=0 asked=0 wide=false"


def test_a_rate_that_never_changes_has_an_axis_that_ends_at_one():
    for value in (0.8, 1.0):
        drawn = draw([Chart("accuracy", [100, 200, 300], [value] * 3)])
        marks = [float(mark) for mark in re.findall(r"<text[^>]*>([\d.]+)</text>", drawn)]
        assert max(mark for mark in marks if mark < 100) == 1, marks


def test_tables_and_players_are_reached_by_keyboard(data):
    whole = page(data)
    assert whole.count('class="scroll" tabindex="0"') == whole.count('class="scroll"') > 3
    assert "video.tabIndex=0" in whole and 'event.key===" "||event.key==="Enter"' in whole
    assert ".scroll::-webkit-scrollbar{height:9px}" in whole, "a table that is too wide shows that it scrolls"
