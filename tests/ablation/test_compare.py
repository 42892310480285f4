"""Any runs side by side: seeds are one column, config differences come first, and what can't be compared is said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from handmade import BASE, write_run

from mmvideo.ablation.compare_runs import compare
from mmvideo.ablation.cost import cost_of
from mmvideo.ablation.fields import override
from mmvideo.ablation.pages.comparison_page import as_json, document, write_comparison
from mmvideo.ablation.pages.markdown import markdown
from mmvideo.ablation.pages.plots import _draw
from mmvideo.cli.main import main
from mmvideo.evaluation.report.parts.metric_names import headline
from mmvideo.input.config import Masking, Packing, Source, Video

LOSSES = {"losses": {"loss": 0.5}}
VALUES = {("wide", 0): 0.8, ("wide", 1): 0.7, ("narrow", 0): 0.7, ("narrow", 1): 0.59, ("narrow", 2): 0.66}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two wide runs and three narrow ones that differ in their seeds; all wrote losses, one of them a metric more."""
    folder, found = tmp_path_factory.mktemp("runs"), []
    for (name, seed), value in VALUES.items():
        fields = {"name": f"{name} {seed}", "training.seed": seed, "input.seed": seed, "training.steps": 4}
        experiment = override(BASE, fields | {"model.width": {"wide": 64, "narrow": 32}[name]})
        metrics = {"losses": {"loss": 2 - value}, "classification": {"joint/top1": value, "joint/clips": 40}}
        metrics["retrieval"] = {"video_to_audio/r@1": 0.5} if seed == 0 and name == "wide" else {}
        found.append(write_run(folder / f"{name}_s{seed}", experiment, metrics))
    return found


@pytest.fixture(scope="module")
def found(runs):
    return compare(runs, planned=False)


def test_runs_that_differ_in_seeds_alone_are_one_column(found):
    assert [(column.name, len(column.runs)) for column in found.columns] == [("wide", 2), ("narrow", 3)]
    assert found.differences == {"model.width": {"wide": 64, "narrow": 32}}
    assert found.metrics == ("classification/joint/top1", "losses/loss", "classification/joint/clips")
    assert (found.headlines, found.others) == (2, 1), "the recall was measured of one column only"


def test_a_page_tells_differences_of_configs_first_then_means_and_differences(found):
    text = " ".join(markdown(document(found), linked=False).split())
    assert text.index("Config differences") < text.index("## Metrics") < text.index("## Cost")
    # 0.75 with a standard error of 0.05 and t = 12.706; 0.65 of 0.7, 0.59 and 0.66.
    assert "| classification/joint/top1 % | 75.0 ± 63.5 | 65.0 ± 13.8 |" in text
    # Seeds 0 and 1: 10 and 11 points less.
    assert "−10.5 ± 6.4" in text
    assert "model.width" in text and "100" in text and "10 s" in text


def test_the_screen_shows_headlines_and_the_rest_on_request(runs, capsys):
    told = {}
    for name, more in (("first", []), ("all", ["--all"]), ("named", ["--metrics", "*clips"])):
        assert main(["compare", *map(str, runs), "--quick", *more]) == 0
        told[name] = " ".join(capsys.readouterr().out.split())
    assert "classification/joint/top1" in told["first"] and "classification/joint/clips" not in told["first"]
    assert "Other metrics: 1 rows, shown with --all" in told["first"]
    assert "classification/joint/clips" in told["all"] and "shown with" not in told["all"]
    assert "classification/joint/clips" in told["named"]


def test_other_ways_to_rank_are_no_headlines():
    assert headline("retrieval", "text_to_video/r@1") and headline("retrieval", "text_to_video/distinct/r@1")
    assert not headline("retrieval", "text_to_video/dsl/r@1") and not headline(
        "retrieval", "text_to_video/reranked/r@1"
    )


def test_charts_of_rates_end_at_a_hundred(found):
    """One mean is 75 and its interval ± 63.5: the axis, and what is drawn of the interval, end at 100."""
    from matplotlib.figure import Figure

    (panel, losses) = document(found).sections[1].panels
    assert panel.rates and not losses.rates
    axes = Figure().subplots()
    _draw(axes, panel)
    assert axes.get_xlim()[0] >= 0 and axes.get_xlim()[1] <= 100
    ends = np.concatenate([line.get_xdata() for line in axes.get_lines()])
    assert ends.max() == pytest.approx(100) and ends.min() == pytest.approx(75 - 63.53, abs=0.02)


def test_all_forms_are_written_for_a_comparison(found, tmp_path, addresses):
    page = write_comparison(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comparison.json", "index.html", "plot.png", "table.csv", "table.md", "table.tex",
    ]  # fmt: skip
    text = page.read_text()
    assert "http:" not in text and all(link.startswith("#") for link in addresses(text))
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 6
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert told == json.loads(json.dumps(as_json(found)))
    assert told["metrics"]["classification/joint/top1"]["wide"]["values"] == [0.8, 0.7]


def test_the_command_prints_and_filters(runs, capsys, tmp_path):
    assert main(["compare", *map(str, runs), "--metrics", "*top1", "--quick", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told["metrics"]) == ["classification/joint/top1"]
    assert main(["compare", str(runs[0]), str(runs[2]), "--quick", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr()
    assert "# wide_s0 against narrow_s0" in out.out and "80.0" in out.out and (tmp_path / "index.html").is_file()


def test_costs_are_planned(tmp_path):
    video = Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16))
    small = {"training.steps": 4, "model.depth": 2, "model.width": 16, "input.video": video, "input.audio": None}
    small |= {
        "model.fusion.layer": 1,
        "input.sources": (Source("nowhere"),),
        "training.optimizer.warmup": 1,
        "input.text": None,
        "input.masking": Masking(video=0.5),
        "input.packing": Packing(2, 32, 2),
    }
    for width in (16, 32):
        write_run(tmp_path / str(width), override(BASE, small | {"model.width": width}), LOSSES)
    found = compare([tmp_path / "16", tmp_path / "32"])
    told = found.planned
    assert not found.remarks
    assert told["32"] == cost_of(override(BASE, small | {"model.width": 32}))
    assert told["16"].parameters < told["32"].parameters


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{0}", "nowhere"], "there is no run nowhere; give the workdir of one"),
        (["{0}", "{folder}"], "holds no run: it has no config.json"),
        (["{0}", "{0}"], "one run alone compares with nothing"),
        (
            ["{0}", "{2}", "--metrics", "bleu*"],
            "no metric of these runs is called 'bleu*'; they have classification/",
        ),
        (["{0}", "{new}"], "new has no evaluation yet; run mmvideo eval on it"),
        (["{0}", "--metric"], "see mmvideo compare --help"),
    ],
)
def test_mistakes_are_one_line(runs, tmp_path, capsys, arguments, words):
    new = write_run(tmp_path / "new", override(BASE, {"model.depth": 1}), {})
    places = [argument.format(*runs, folder=tmp_path, new=new) for argument in arguments]
    assert main(["compare", *places, "--quick"]) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1 and words in said


def test_a_run_that_is_not_finished_is_said_so(runs, tmp_path, capsys):
    metrics = {"classification": {"joint/top1": 0.4}}
    half = write_run(tmp_path / "half", override(BASE, {"training.steps": 4, "model.depth": 1}), metrics, step=2)
    assert main(["compare", str(runs[0]), str(half), "--quick"]) == 0
    told = capsys.readouterr()
    assert "half is not finished: step 2 of 4" in told.err and "half is not finished: step 2 of 4" in told.out
