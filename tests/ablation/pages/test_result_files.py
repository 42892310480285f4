"""The same numbers in Markdown, CSV, LaTeX and HTML; what is missing is a dash; the page needs nothing else."""

from __future__ import annotations

import csv
import dataclasses
import re

import pytest
from handmade import Cost, joint

from mmvideo.ablation.cells import cells_of
from mmvideo.ablation.pages.document import DASH, format_estimate, format_large
from mmvideo.ablation.pages.latex import escaped
from mmvideo.ablation.pages.panels import panels
from mmvideo.ablation.pages.result_files import write_pages
from mmvideo.ablation.results import gather
from mmvideo.ablation.statistics import Estimate


@pytest.fixture(scope="module")
def written(fusion, folder):
    cells = cells_of(fusion.toy)
    costs = {cell.place: Cost() for cell in cells}
    page = write_pages(gather(fusion, "toy", cells, folder, costs))
    return {path.name: path for path in page.parent.iterdir() if path.is_file()}


def lines(text: str, first: str) -> list[list[str]]:
    """The rows of Markdown tables that begin with a word."""
    rows = [[place.strip() for place in line.strip("|").split(" | ")] for line in text.split("\n") if "|" in line]
    return [row for row in rows if row[0].strip("* ") == first]


def test_all_forms_are_written_and_nothing_else(written):
    assert sorted(written) == ["index.html", "plot.png", "table.csv", "table.md", "table.tex"]
    assert written["plot.png"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and written["plot.png"].stat().st_size > 10_000


def test_markdown_tells_means_dashes_published_numbers_and_verdicts(written):
    text = written["table.md"].read_text()
    one, two, three = (row for row in lines(text, "early") if row[1] in "123")
    # Seeds 0 and 1 of (early, 1): 51 and 52 percent; half is 12.706 times their standard error of 0.5.
    assert one[2:6] == ["51.5 ± 6.4", "1.485 ± 0.064", "2", "41.5"]
    assert three[2] == "53.0 ± 2.5" and three[5] == "43", "the published number that is named more closely"
    assert two[6:] == ["2 T", "1.5 M", "100", "0.5", "30 s"]
    assert all(row[5] == DASH for row in lines(text, "mid & late") if row[1] in "123")
    assert "**" in next(row for row in lines(text, "mid & late") if row[1] == "3")[2]
    (failed,) = lines(text, "kind_of fusion, kind=early, depth=1, seed 2")
    assert failed[1:] == ["failed", "NonFiniteError: a \\| loss of <nan>"]
    claim = next(line for line in text.split("\n") if line.startswith("| mid is better than early<br>(2 of 3 seeds;"))
    assert "| holds " in claim and "| +10.5 ± 6.4 |" in claim and "a paper, table 1 (read in the paper)" in claim
    assert "Of 4 claims: 1 holds, 1 is reversed, 1 is not settled, 1 is not measured." in text
    assert lines(text, "mid is better than early")[-1][1:] == ["holds", "as it should be"]
    assert lines(text, "kind=nowhere")[0][1:] == ["mAP: 12.25", "a paper, table 2", "read in the paper"], text


def test_a_page_of_some_studies_says_so(fusion, folder, tmp_path):
    (study,) = fusion.toy.studies
    more = dataclasses.replace(
        fusion, toy=dataclasses.replace(fusion.toy, studies=(study, dataclasses.replace(study, name="b")))
    )
    for suite, said in ((fusion, 0), (more, 1)):
        cells = cells_of(suite.toy, only=[("study", study.name)])
        text = write_pages(gather(suite, "toy", cells, folder), tmp_path).with_name("table.md").read_text()
        assert text.count("- studies: kind_of fusion; 1 of 2") == said


def test_plots_go_along_the_axis_of_numbers(fusion, folder):
    (study,) = gather(fusion, "toy", cells_of(fusion.toy), folder).studies
    panel = panels(study)[0]
    assert (panel.axis, panel.ticks, panel.ordered) == ("depth", ("1", "2", "3"), True)
    assert list(panel.series) == ["kind early", "kind mid & late"]
    # Of (early, 3) all three seeds are there.
    last = panel.series["kind early"][-1]
    assert last.place == 2 and last.values == pytest.approx([53.0, 52.0, 54.0])


def test_csv_has_a_row_a_cell_and_what_is_missing_is_empty(written):
    rows = list(csv.DictReader(written["table.csv"].open()))
    assert len(rows) == 18
    found = {(row["axis kind"], row["axis depth"], row["seed"]): row for row in rows}
    failed, lacking = found["early", "1", "2"], found["mid & late", "3", "1"]
    assert failed["status"] == "failed" and failed["joint"] == "" and failed["why"].startswith("NonFinite")
    assert (lacking["loss"], float(lacking["joint"])) == ("", pytest.approx(joint("mid & late", 3, 1)))
    assert lacking["classification/joint/clips"] == "40" and lacking["train_flops"] == "2e+12"


def test_latex_is_escaped_and_balanced(written):
    text = written["table.tex"].read_text()
    assert r"mid \& late" in text and r"kind\_of fusion" in text and r"51.5 $\pm$ 6.4" in text
    assert text.count(r"\begin{") == text.count(r"\end{") and text.count(r"\toprule") == text.count(r"\bottomrule")
    assert not re.search(r"[±–→↓]", text)
    assert len(set(re.findall(r"\\label{(.*?)}", text))) == text.count(r"\label{")
    assert escaped("50 % & a_b") == r"50 \% \& a\_b"


def test_the_page_is_whole_and_needs_no_network(written, addresses, folder):
    text = written["index.html"].read_text()
    links = addresses(text)
    assert "http:" not in text and "https:" not in text and "@import" not in text
    local = [link for link in links if not link.startswith("#")]
    assert len(local) == 16 and all((folder / link).exists() for link in local), "every cell that began"
    assert [link for link in links if link.startswith("#c") or link.startswith("#k")][:1] == ["#claims"]
    assert "Fusion &lt;of&gt; picture &amp; sound" in text and "loss of &lt;nan&gt;" in text
    assert text.count("<figure") == 3 and "published: a paper, table 1" in text
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids)), "no two elements have the same name"
    for fact in ("16 of 18 cells", "12 min on 2 cores", "2 x cpu", "abc123", "jax 0.11", "1970-01-01 00:16"):
        assert fact in text


def test_a_single_seed_has_no_interval_and_nothing_at_all_is_all_dashes(fusion, folder, tmp_path):
    one = [cell for cell in cells_of(fusion.toy) if cell.seed == 0]
    text = write_pages(gather(fusion, "toy", one, folder), tmp_path / "one").with_name("table.md").read_text()
    assert "`kind_of-fusion_early_1_s0`" in text and "](" not in text, "a page that is kept elsewhere has no dead links"
    assert [row[2] for row in lines(text, "early") if row[1] in "123"] == ["51.0", "52.0", "53.0"]
    assert "only one seed has all cells" in text
    none = write_pages(gather(fusion, "toy", one, tmp_path / "empty"), tmp_path / "none")
    text = none.with_name("table.md").read_text()
    assert all(set(row[2:4]) == {DASH} for row in lines(text, "early") if row[1] in "123")
    assert "0 of 6 cells" in text


@pytest.mark.parametrize(
    ("estimate", "scale", "words"),
    [
        (Estimate(0.5234, 0.0112, 3), 100.0, "52.3 ± 1.1"),
        (Estimate(1.23456, 0.0123, 3), 1.0, "1.235 ± 0.012"),
        (Estimate(153.2, 12.3, 3), 1.0, "153 ± 12"),
        (Estimate(-0.1, None, 1), 1.0, "−0.100"),
        (Estimate(0.5, 0.0, 3), 1.0, "0.500 ± 0.000"),
        (None, 1.0, DASH),
    ],
)
def test_numbers_are_written_in_digits_that_mean_something(estimate, scale, words):
    assert format_estimate(estimate, scale) == words


def test_large_numbers_are_short():
    assert [format_large(value) for value in (None, 12.3456, 1234, 2.5e15)] == [DASH, "12.3", "1.23 k", "2.5 P"]
