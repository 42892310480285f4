"""The top of the page: best results with chance and ceiling, zero-shot's own table, intervals, trained labels."""

from __future__ import annotations

import json
import re

import numpy as np

from mmvideo.evaluation.report.parts.metric_tables import of_oracle, retrieval_table
from mmvideo.evaluation.report.run_data import ClipView, GalleryQuery, Ranked, ReportData
from mmvideo.evaluation.report.run_page import page


def evaluation(metrics, **more):
    return {"metrics": metrics, "clips": 40, "dataset": "shapes", "split": "test", "checkpoint_step": 9} | more


def words(html):
    return " ".join(re.sub("<[^>]*>", " ", html).split())


def section(html, name):
    return re.search(f'<section id="{name}">.*?</section>', html, re.S)[0]


SHOT = {"top1": 0.62, "class_mean_accuracy": 0.6, "chance": 0.2, "p_value": 1e-9, "clips": 40, "left_out": 2, "ties": 0}
PROBE = {"linear/accuracy": 0.7, "linear/chance": 0.2, "linear/clips": 40, "linear/left_out": 0, "oracle": 0.9}
EVALUATIONS = {
    "zero_shot": evaluation(
        {f"kind/video/{name}": value for name, value in SHOT.items()}
        | {"kind/audio/top1": 0.1, "kind/audio/chance": 0.2}
    ),
    "probes": evaluation(
        {f"kind/video/{name}": value for name, value in PROBE.items()}
        | {f"kind/text/{name}": value for name, value in (PROBE | {"linear/accuracy": 1.0}).items()}
    ),
    "captioning": evaluation(
        {"exact_match": 0.3, "bleu_4": 0.9, "cider_d": 2.0, "reference_length_mean": 4.0, "clips": 40}
    ),
}


def view(name):
    return ClipView(name, f"caption of {name}", b"not shown here", np.zeros((4, 4, 3), np.uint8))


def test_the_page_opens_with_a_summary_and_a_clip():
    found = [Ranked(view("other"), 1, 0.9, False), Ranked(view("mine"), 2, 0.8, True)]
    data = ReportData("run", evaluations=EVALUATIONS, gallery=[GalleryQuery("text", "video", view("mine"), found, 40)])
    html = page(data)
    assert re.findall('<section id="(.*?)"', html)[:3] == ["summary", "zero_shot", "probes"]
    top = section(html, "summary")
    rows = [words(row) for row in re.findall("<tr.*?</tr>", top, re.S)]
    assert rows[0] == "task measure value chance ceiling clips"
    assert rows[1] == "zero-shot kind · video · top-1 % 62.0 20.0 – 40", "the best modality of a kind stands for it"
    assert rows[2] == "probe of frozen features kind · video · accuracy % 70.0 20.0 90.0 40"
    assert [row.split()[1] for row in rows[3:]] == ["exact", "CIDEr-D"], "no BLEU-4 of short references"
    assert top.count("<video") == 1 and "caption of mine" in words(top) and "rank 2 of 40" in words(top)


def test_zero_shot_has_a_table_of_its_own():
    shown = words(section(page(ReportData("run", evaluations=EVALUATIONS)), "zero_shot"))
    assert "top-1 % class-mean accuracy % chance % p clips left out ties" in shown
    assert "kind/video 62.0 60.0 20.0" in shown and "top1" not in shown


def test_what_was_trained_on_labels_is_not_called_untrained():
    plain = json.dumps({"objectives": {"it": {"kind": "contrastive"}}})
    labels = json.dumps({"objectives": {"it": {"kind": "classification", "label": "kind"}}})
    said = [
        words(section(page(ReportData("run", config=one, evaluations=EVALUATIONS)), "probes"))
        for one in (plain, labels)
    ]
    assert "without training the model on any label" in said[0]
    assert "without training" not in said[1] and "The model was trained on labels of “kind”" in said[1]


def test_shares_of_the_oracle_carry_their_interval():
    """By Wilson's formula: of 40 queries 26 found, an oracle that finds 0.6 of them."""
    low, high = of_oracle({"r@1_expected": 0.65, "clips": 40, "oracle": 0.6})[1:]
    z, n, p = 1.959964, 40, 0.65
    middle, half = (
        (p + z * z / 2 / n) / (1 + z * z / n),
        z * (p * (1 - p) / n + z * z / 4 / n / n) ** 0.5 / (1 + z * z / n),
    )
    np.testing.assert_allclose((low, high), ((middle - half) / 0.6, (middle + half) / 0.6), rtol=1e-6)
    one = {"r@1": 0.65, "r@5": 0.9, "r@10": 1.0, "r@1_expected": 0.65, "median_rank": 1.0, "chance": 0.025}
    one |= {"r@1_p_value": 1e-9, "oracle": 0.6, "clips": 40, "left_out": 0, "ties": 0}
    html = retrieval_table({f"text_to_video/{name}": value for name, value in one.items()})
    assert f"108 % ({100 * low:.0f}–{100 * high:.0f})" in words(html)
