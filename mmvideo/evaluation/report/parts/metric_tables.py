"""Tables of metrics: retrieval against chance and oracle, probes, and planned figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmvideo.evaluation.report.parts.markup import number, p_value, percent, table, tag, text
from mmvideo.objectives.components.modality_groups import group_and_space

_WIDTH = 120

REPEATED = 0.05
"""Share of captions of several clips above which a page warns."""

VARIANTS = {
    "distinct": "equal captions as one",
    "by_clip": "each clip by its best caption",
    "dsl": "dual softmax over all queries",
    "reranked": "re-ranked by the matching head",
}
"""Labels of the extra rows of a direction, by the prefix of their metrics."""


def retrieval_table(metrics: Mapping[str, Any]) -> str:
    """Return a table with one row a direction: recalls as bars, ranks, chance, and the share of the oracle."""
    directions = list(dict.fromkeys(name.split("/")[0] for name in metrics))
    measured = [name for name in directions if f"{name}/r@1" in metrics]
    oracle = any(f"{name}/oracle" in metrics for name in measured)
    head = ["query → gallery", "R@1", "R@5", "R@10", "median rank", "chance R@1", "p of R@1"]
    head += ["oracle R@1", "of oracle"] if oracle else []
    head += ["clips", "left out", "ties"]
    rows = []
    for name in measured:
        of = {key.split("/", 1)[1]: value for key, value in metrics.items() if key.startswith(f"{name}/")}
        row = [_arrow(name)] + [_recall(of, k) for k in (1, 5, 10)]
        row += [number(of["median_rank"]), percent(of["chance"]), p_value(of["r@1_p_value"])]
        if oracle:
            row += [percent(of.get("oracle")), _share(of)]
        rows.append([*row, number(of["clips"]), number(of["left_out"]), number(of.get("ties"))])
        rows += [_variant(of, prefix, len(head)) for prefix in VARIANTS if f"{prefix}/r@1" in of]
    absent = [name for name in directions if name not in measured]
    said = ", ".join(_arrow(name) for name in absent)
    note = tag("p", f"No clip has both modalities of: {said}.", class_="note") if absent else ""
    return table(head, rows) + note


def _variant(of: Mapping[str, Any], prefix: str, columns: int) -> list[str]:
    """Return the row of another way to rank in a direction: recalls and median rank."""
    recalls = [
        bar(of.get(f"{prefix}/r@{k}"), of.get(f"{prefix}/chance@{k}", of.get(f"chance@{k}"))) for k in (1, 5, 10)
    ]
    row = [f'<span class="arrow">↳</span> {text(VARIANTS[prefix])}', *recalls, number(of[f"{prefix}/median_rank"])]
    if prefix != "distinct":
        return row + [""] * (columns - len(row))
    row += [percent(of.get("distinct/chance")), p_value(of.get("distinct/r@1_p_value"))]
    counts = [number(of.get("distinct/clips")), "", number(of.get("distinct/ties"))]
    return row + [""] * (columns - len(row) - len(counts)) + counts


def repeated_note(metrics: Mapping[str, Any]) -> str:
    """Return a warning if more than `REPEATED` of the captions belong to several clips."""
    share = max((value for name, value in metrics.items() if name.endswith("/repeated")), default=0)
    if share <= REPEATED:
        return ""
    said = (
        f"{share:.0%} of the captions belong to more than one clip. The first row of a direction with text counts "
        "every clip except the query’s own as wrong, even with the same caption, and can’t be high: read "
        f"“{VARIANTS['distinct']}”."
    )
    return tag("p", text(said), class_="note warning")


def _arrow(direction: str) -> str:
    source, target = direction.split("_to_")
    target, space = group_and_space(target)
    where = f" ({text(space)})" if space else ""
    return f'{text(source)} <span class="arrow">→</span> {text(target)}{where}'


def _recall(of: Mapping[str, Any], k: int) -> str:
    return bar(of.get(f"r@{k}"), of.get(f"chance@{k}"), of.get(f"oracle@{k}"))


def _share(of: Mapping[str, Any]) -> str:
    """Return R@1 over the oracle's, both with ties broken at random, with its interval."""
    if not of.get("oracle"):
        return "–"
    share, low, high = of_oracle(of)
    return f"{100 * share:.0f} %<small> ({100 * low:.0f}–{100 * high:.0f})</small>"


def of_oracle(of: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return R@1 over the oracle's, and the ends of its 95 % interval.

    The interval is that of a share of so many queries (Wilson 1927), divided by the oracle's R@1, which is known. A
    ratio above 1 may be chance among few clips unless the whole interval is above 1.
    """
    share = of.get("r@1_expected", of.get("r@1"))
    clips = of["clips"]
    z = 1.959964
    # R@1 of 0.5 over 100 queries: middle 0.5, half 0.096, so 0.404 to 0.596 before the division by the oracle.
    middle = (share + z * z / (2 * clips)) / (1 + z * z / clips)
    half = z * math.sqrt(share * (1 - share) / clips + (z / (2 * clips)) ** 2) / (1 + z * z / clips)
    return share / of["oracle"], (middle - half) / of["oracle"], (middle + half) / of["oracle"]


def bar(value: int | float | None, chance: int | float | None, oracle: int | float | None = None) -> str:
    """Return a share as a number over a bar, with marks at chance and at the oracle."""
    if value is None:
        return "–"
    marks = [tag("rect", x=0, y=1, width=_WIDTH, height=6, rx=1, class_="track")]
    marks.append(tag("rect", x=0, y=1, width=f"{_WIDTH * value:.1f}", height=6, rx=1, class_="fill"))
    for share, kind in ((chance, "chance"), (oracle, "oracle")):
        if share is not None:
            # A mark at 0 or 1 stays inside the image.
            x = min(max(_WIDTH * share, 1.0), _WIDTH - 1.0)
            marks.append(tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=0, y2=8, class_=kind))
    said = f"{percent(value)} %" + ("" if chance is None else f", chance {percent(chance)} %")
    said += "" if oracle is None else f", oracle {percent(oracle)} %"
    picture = tag("svg", *marks, viewBox=f"0 0 {_WIDTH} 8", preserveAspectRatio="none", role="img", aria_label=said)
    return tag("div", tag("span", percent(value)), picture, class_="bar", title=said)


def probe_table(metrics: Mapping[str, Any]) -> str:
    """Return a table with one row a modality, grouped by the kind of label."""
    pairs = list(dict.fromkeys(tuple(name.split("/")[:2]) for name in metrics if name.endswith("/linear/accuracy")))
    rows, above = [], None
    oracle = any(name.endswith("/oracle") for name in metrics)
    for kind, modality in pairs:
        linear, knn = (_probe(metrics, f"{kind}/{modality}/{probe}/") for probe in ("linear", "knn"))
        best = metrics.get(f"{kind}/{modality}/oracle")
        row = [tag("b", text(kind)) if kind != above else "", text(modality)]
        row += [bar(found.get("accuracy"), found.get("chance"), best) for found in (linear, knn)]
        row += [percent(linear.get("macro_accuracy")), percent(linear.get("chance")), p_value(linear.get("p_value"))]
        row += [percent(best)] if oracle else []
        rows.append([*row, number(linear.get("clips")), number(linear.get("left_out"))])
        above = kind
    head = ["label", "features of", "linear", "k-NN", "linear, per class", "chance", "p of linear"]
    head += ["oracle"] if oracle else []
    return table([*head, "clips", "left out"], rows, numbers_from=2, group=True)


def _probe(metrics: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def figures_table(figures: Sequence[tuple[str, str, str, str]]) -> str:
    """Return a table of planned and measured figures, with their notes."""
    rows = [
        [text(name) + (f" {tag('small', text(note))}" if note else ""), text(planned) or "–", text(measured) or "–"]
        for name, planned, measured, note in figures
    ]
    return table(["", "planned", "measured"], rows)


def plain_table(metrics: Mapping[str, Any]) -> str:
    """Return names and values of an evaluation without a table of its own."""
    rows = [[text(name), "–" if value is None else f"{value:.4g}"] for name, value in metrics.items()]
    return table(["metric", "value"], rows)
