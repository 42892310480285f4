"""The page of a run: one self-contained HTML file that needs no network and no other file."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path

from mmvideo.evaluation.report import task_sections
from mmvideo.evaluation.report.parts import (
    curves,
    metric_tables,
    page_summary,
    qualitative,
)
from mmvideo.evaluation.report.parts import (
    goodput as account,
)
from mmvideo.evaluation.report.parts.markup import Part, duration, number, section, tag, text
from mmvideo.evaluation.report.parts.style import SCRIPT, STYLE
from mmvideo.evaluation.report.run_data import ReportData
from mmvideo.evaluation.report.task_sections import source, titled
from mmvideo.records.whole import write_whole


def write_report(path: str | Path, data: ReportData) -> Path:
    """Write the page, as a whole or not at all.

    Args:
      path: The file, or a folder for `report.html`.
      data: Content of the page.

    Returns:
      The file.
    """
    path = Path(path)
    path = path / "report.html" if path.is_dir() else path
    write_whole(path, page(data))
    return path


def page(data: ReportData) -> str:
    """Return the whole page as HTML."""
    # A section without content has no link either.
    parts = [part for part in _parts(data) if part.html]
    links = tag("nav", *(tag("a", text(part.title), href=f"#{part.name}") for part in parts))
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        + tag("title", text(data.name))
        + tag("style", STYLE)
    )
    body = tag("main", _header(data), links, *(part.html for part in parts))
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{body}{tag("script", SCRIPT)}</body></html>\n'


def _parts(data: ReportData) -> list[Part]:
    """Return every section, with empty ones."""
    zero_shot = task_sections.task_part
    probes = functools.partial(_probes, labels=_trained_labels(data.config))
    known = {"retrieval": _retrieval, "zero_shot": zero_shot, "probes": probes}
    known |= {name: task_sections.task_part for name in task_sections.TASKS if name not in known}
    whole, variants = task_sections.split(data.evaluations)
    kinds = {name: task_sections.task(name) for name in whole}
    # Sections in the order of `known`, whatever the order of files: retrieval first, then zero-shot and probes.
    first = sorted((name for name in whole if kinds[name] in known), key=lambda name: list(known).index(kinds[name]))
    return [
        # Reversed, so that of two evaluations of one task the first section wins the dict entry.
        _summary(data, {kinds[name]: whole[name] for name in reversed(first)}),
        *(known[kinds[name]](name, whole[name]) for name in first),
        task_sections.modalities(variants),
        task_sections.examples(data.examples),
        _gallery(data),
        _losses(data),
        _reconstructions(data),
        _attention(data),
        _throughput(data),
        _planned(data),
        _time(data),
        *(_evaluation(name, found) for name, found in whole.items() if name not in first),
        _skipped(data),
        _config(data),
    ]


def _header(data: ReportData) -> str:
    """Return the run's name and facts: the given ones, and those of the record."""
    facts = list(data.summary)
    named = {name for name, _ in facts}
    if data.metrics and "steps" not in named:
        facts.append(("steps", number(data.metrics[-1]["step"])))
    seconds = account.total_seconds(data.ledger)
    if seconds and "time" not in named:
        facts.append(("time", duration(seconds)))
    goodput = account.goodput(data.ledger)
    if goodput is not None:
        facts.append(("goodput", f"{goodput:.0%}"))
    shown = [tag("dl", tag("dt", text(name)), tag("dd", text(value))) for name, value in facts]
    return tag("header", tag("h1", text(data.name)), tag("div", *shown, class_="facts"))


def _summary(data: ReportData, evaluations: dict[str, dict]) -> Part:
    """Return the best results of the run's own clips, and a clip to play."""
    best = page_summary.summary_table(dict(reversed(evaluations.items())))
    clip = page_summary.one_clip(data.gallery, data.examples)
    how = (
        "The best results of the run, with the score of guessing (chance) and, if known, the highest score that any "
        "model can reach (ceiling). The sections below have all results."
    )
    return Part("summary", "Summary", section("summary", "Summary", how, best, clip) if best else "")


def _trained_labels(config: str) -> list[str]:
    """Return the kinds of label that the run was trained on, from its config."""
    try:
        objectives = json.loads(config or "{}").get("objectives", {}).values()
    except json.JSONDecodeError:
        return []
    return list(dict.fromkeys(str(one["label"]) for one in objectives if isinstance(one, dict) and one.get("label")))


def _retrieval(name: str, found: dict) -> Part:
    how = (
        "Retrieval: given one modality of a clip, find the clip among all of these by another. R@K is the "
        "share of queries (in %) whose clip is among the first K. Ties count against the model: a wrong clip that is "
        "exactly as similar as the right one is ranked before it, so repeated captions cost recall. p is the "
        "probability that a random order does as well. "
    )
    oracle = any(metric.endswith("/oracle") for metric in found["metrics"])
    if oracle:
        how += (
            "The oracle knows the exact content of each modality and is the highest score that any model can reach. It "
            "breaks ties at random, so “of oracle” compares it with the model’s R@1 under random ties, with the 95 % "
            "interval for this number of queries. "
        )
    legend = '<i></i>model|<i class="chance"></i>chance' + ('|<i class="oracle"></i>oracle' if oracle else "")
    keys = tag("div", *(tag("span", item) for item in legend.split("|")), class_="legend")
    table = metric_tables.retrieval_table(found["metrics"])
    title = titled("Retrieval", name)
    warning = metric_tables.repeated_note(found["metrics"])
    return Part(name, title, section(name, title, how + source(found), warning, table, keys))


def _probes(name: str, found: dict, labels: Sequence[str] = ()) -> Part:
    how = (
        "Accuracy in % of a simple classifier on frozen features{}, on held-out clips. The orange mark is chance "
        "(always predicting the most frequent class); a green mark is the highest accuracy possible from that "
        "modality. “Per class” averages over classes, however rare. "
    ).format("" if labels else ", without training the model on any label")
    if labels:
        how += f"The model was trained on labels of {', '.join(f'“{text(one)}”' for one in labels)}. "
    table = metric_tables.probe_table(found["metrics"])
    title = titled("Probes", name)
    return Part(name, title, section(name, title, how + source(found), table))


def _evaluation(name: str, found: dict) -> Part:
    """Return the section of an evaluation without a table of its own."""
    title = name.capitalize()
    return Part(name, title, section(name, title, source(found), metric_tables.plain_table(found["metrics"])))


def _gallery(data: ReportData) -> Part:
    how = (
        "Evenly spaced queries from the held-out clips (not chosen for their results), each with the clips that the "
        "model finds most similar; the number beside a rank is the cosine. The right clip has a green border, and is "
        "added at the end if it is not among the first. Click a clip to play it."
    )
    inside = section("gallery", "Queries and what they find", how, qualitative.gallery(data.gallery))
    return Part("gallery", "Gallery", inside if data.gallery else "")


def _losses(data: ReportData) -> Part:
    charts = curves.loss_charts(data.metrics)
    others = curves.metric_charts(data.metrics, curves.other_metrics(data.metrics))
    how = (
        "Training losses by step; the bold line is a running median of the pale one. A dashed line is the loss of "
        "a model that knows nothing about the single clip: a model has learned something only below it."
    )
    more = tag("details", tag("summary", "Other metrics"), curves.draw(others)) if others else ""
    inside = section("curves", "Learning curves", how, curves.draw(charts), more)
    return Part("curves", "Curves", inside if charts else "")


def _throughput(data: ReportData) -> Part:
    wanted = {
        "examples_per_second": "clips a second",
        "tokens_per_second": "tokens a second",
        "mfu": "model FLOP utilisation",
        "padding": "share of empty token slots",
        "waiting": "share of the time that waits for data",
        "grad_norm": "norm of the gradient",
        "learning_rate": "learning rate",
    }
    charts = curves.metric_charts(data.metrics, wanted)
    how = "Speed of the run, share of empty token slots, gradient norm and learning rate."
    inside = section("throughput", "Throughput and updates", how, curves.draw(charts, zero=True))
    return Part("throughput", "Throughput", inside if charts else "")


def _planned(data: ReportData) -> Part:
    how = (
        "The figures that “mmvideo plan” expects of this run on its devices, and the measured ones. A plan assumes "
        "that every clip is as long as its view and has every modality."
    )
    inside = (
        section("planned", "Planned and measured", how, metric_tables.figures_table(data.planned))
        if data.planned
        else ""
    )
    return Part("planned", "Planned", inside)


def _reconstructions(data: ReportData) -> Part:
    how = (
        "The input of the masked objective (hidden patches grey), its reconstruction, and the original. Visible "
        "patches are copied into the reconstruction, so compare only the grey ones. In spectrograms time runs to the "
        "right and frequency upwards."
    )
    pictures = qualitative.reconstructions(data.reconstructions)
    inside = section("reconstruction", "Masked input and reconstruction", how, *_notes(data), pictures)
    return Part("reconstruction", "Reconstruction", inside if data.reconstructions else "")


def _notes(data: ReportData) -> list[str]:
    """Return the notes on the reconstructions of this run, each once."""
    notes = dict.fromkeys(one.note for one in data.reconstructions if one.note)
    return [tag("p", text(note), class_="note") for note in notes]


def _attention(data: ReportData) -> Part:
    how = (
        "Attention of the tokens of one modality to the frames of their clip, mean over heads and tokens. Grey is at "
        "most the average over all patches; a brighter glow is more attention, up to three times the average. The "
        "shares are those of all attention by modality."
    )
    inside = section("attention", "Attention over frames", how, qualitative.attention(data.attention))
    return Part("attention", "Attention", inside if data.attention else "")


def _time(data: ReportData) -> Part:
    inside = account.account(data.ledger)
    how = "Every second of the run, counted once. "
    goodput = account.goodput(data.ledger)
    if goodput is not None:
        how += (
            f"Goodput {goodput:.1%}: the share of the time since the run first started, with restarts and the "
            "time between them, that went into steps that count for the model (not lost, not skipped, and not the "
            "first step of a start, which is compiled)."
        )
    return Part("time", "Time", section("time", "Where the time went", how, inside) if inside else "")


def _skipped(data: ReportData) -> Part:
    how = f"{number(len(data.skipped))} clips could not be used. Their slots stayed empty; no other clip moved."
    inside = section("skipped", "Skipped clips", how, account.skips(data.skipped)) if data.skipped else ""
    return Part("skipped", "Skipped", inside)


def _config(data: ReportData) -> Part:
    if not data.config:
        return Part("config", "Config", "")
    listing = tag("details", tag("summary", "config.json"), tag("pre", text(data.config)))
    return Part("config", "Config", section("config", "Config", "Every setting of the run.", listing))
