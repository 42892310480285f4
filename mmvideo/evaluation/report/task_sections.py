"""Sections of the page about tasks: classification, numbers, captions, moments, and what each modality adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmvideo.evaluation.report.modality_gains import gains_by_modality
from mmvideo.evaluation.report.parts import confusion, curve_plots, result_tables, sampled_answers
from mmvideo.evaluation.report.parts.markup import Part, number, section, tag, text
from mmvideo.evaluation.report.run_data import ClipGroup
from mmvideo.stream import MODALITIES

_WHOLE = "all"


def kind(name: str) -> str:
    """What an evaluation measures: its name without the modalities that it shows."""
    before, _, after = name.rpartition(".")
    return before if before and set(after.split("+")) <= set(MODALITIES) else name


def task(name: str) -> str:
    """The task of an evaluation: its `kind` without the clips that it is about."""
    return kind(name).partition("@")[0]


def shown(name: str) -> str:
    """The modalities that an evaluation shows, `all` where its name gives none."""
    return name.removeprefix(kind(name)).removeprefix(".") or _WHOLE


def split(
    evaluations: Mapping[str, dict[str, Any]],
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, dict[str, Any]]]]:
    """Evaluations that get a section of their own, and those that are told apart by what they show.

    Returns:
      By name: of each kind the evaluation of everything, or else the one with the most modalities. And by kind,
      where there are several, all of them by what they show.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = {}
    for name in sorted(evaluations, key=lambda name: (kind(name), shown(name) != _WHOLE, _order(name))):
        kinds.setdefault(kind(name), {})[shown(name)] = evaluations[name]
    whole = {}
    for name, variants in kinds.items():
        most = _WHOLE if _WHOLE in variants else max(variants, key=lambda one: one.count("+"))
        whole[name if most == _WHOLE else f"{name}.{most}"] = variants[most]
    return whole, {name: variants for name, variants in kinds.items() if len(variants) > 1}


def _order(name: str) -> tuple[int, list[int]]:
    """Single modalities first, in the order of the stream."""
    places = [MODALITIES.index(one) for one in shown(name).split("+") if one in MODALITIES]
    return len(places), places


def source(found: Mapping[str, Any]) -> str:
    """Which clips an evaluation saw, after which step."""
    return (
        f"{number(found['clips'])} clips of {text(found['dataset'])}, split “{text(found['split'])}”, "
        f"at step {number(found['checkpoint_step'])}."
    )


def titled(title: str, name: str) -> str:
    """The title of an evaluation's section, with what it shows where that is not everything."""
    title += f" on {dataset}" if (dataset := kind(name).partition("@")[2]) else ""
    return title if shown(name) == _WHOLE else f"{title} ({shown(name)})"


def task_part(name: str, found: Mapping[str, Any]) -> Part:
    """The section of an evaluation whose `task` is among `TASKS`."""
    title, how, inside = TASKS[task(name)]
    title = titled(title, name)
    details = found.get("details", {})
    protocol = result_tables.protocol_note(found.get("protocol", {}))
    return Part(name, title, section(name, title, how + source(found), *inside(found["metrics"], details), protocol))


def _classification(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """The table, and for each objective its confusion matrix or its curves."""
    parts = [result_tables.objective_table(metrics)]
    for objective, one in details.items():
        if not one:  # of no clip is the truth known
            continue
        parts.append(tag("h3", text(objective)))
        picture, curves = confusion.confusion_picture(one), curve_plots.pr_charts(one)
        if picture:
            parts.append(tag("div", tag("div", picture), confusion.confused_pairs(one), class_="side"))
        if picture and curves:
            curves = tag("details", tag("summary", "Precision over recall, each class against the rest"), curves)
        parts += [result_tables.absent_note(one), curves, confusion.class_table(one)]
    return parts


def _regression(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """The table, and a scatter plot of each objective."""
    charts = "".join(curve_plots.scatter(one, objective) for objective, one in details.items())
    return [result_tables.objective_table(metrics), tag("div", charts, class_="charts") if charts else ""]


def _captioning(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """The table, and samples."""
    table = sampled_answers.caption_table(details.get("samples", []))
    return [result_tables.metric_table(metrics), tag("h3", "Samples") + table if table else ""]


def _moments(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """The tables, and queries over time."""
    strips = sampled_answers.moment_strips(details.get("samples", []))
    return [result_tables.moment_tables(metrics), tag("h3", "Queries over time") + strips if strips else ""]


def _zero_shot(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """The table."""
    return [result_tables.objective_table(metrics)]


TASKS = {
    "zero_shot": (
        "Zero-shot classification",
        "Each clip is given the class whose name, put into prompts, is the most similar to it; a row is a kind of "
        "label and what is looked at. Top-1 stands over a bar with chance, always answering the most frequent "
        "class, as an orange mark. ",
        _zero_shot,
    ),
    "classification": (
        "Classification",
        "How well the classes of held-out clips are told. Top-1 stands over a bar with chance, always answering the "
        "most frequent class, as an orange mark. Means over classes count every class that has a clip alike, however "
        "rare. ",
        _classification,
    ),
    "captioning": (
        "Captioning",
        "Captions written for held-out clips, scored against those that people wrote. Scores are printed times "
        "100, as papers do. ",
        _captioning,
    ),
    "question_answering": (
        "Question answering",
        "Questions about held-out clips, answered in words. ",
        _captioning,
    ),
    "dense_captioning": (
        "Dense captioning",
        "Events of held-out videos, with their times and their captions. ",
        _captioning,
    ),
    "moments": (
        "Moments",
        "Stretches of video found from a sentence. R1@x is the share of queries whose first stretch overlaps a true "
        "one by x or more (intersection over union); mAP weighs all stretches by their scores, and without an x is the "
        "mean over overlaps of 0.5 to 0.95. By length, only true moments of that length count. ",
        _moments,
    ),
    "regression": (
        "Predicted numbers",
        "Numbers predicted for held-out clips. “MAE of the median” is the error of always answering the median. ",
        _regression,
    ),
}
"""By kind of evaluation: title, how to read it, and what makes the inside of its section."""


def modalities(variants: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Part:
    """The same measurements for clips of which only some modalities are shown.

    Args:
      variants: by kind of evaluation, the evaluations by what they show.
    """
    how = (
        "The same model and the same clips, of which only some modalities are shown. Each row is a metric, its best "
        "value bold; a model that uses both picture and sound is better with both than with either."
    )
    measured = {name: {one: found["metrics"] for one, found in of.items()} for name, of in variants.items()}
    parts = [result_tables.added_table(gains_by_modality(measured)), *_partial_notes(variants)]
    for name, metrics in measured.items():
        parts += [tag("h3", text(name.replace("_", " ").capitalize())), result_tables.ablation_table(name, metrics)]
    title = "Modalities"
    return Part("modalities", title, section("modalities", title, how, *parts) if variants else "")


def _partial_notes(variants: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Which objectives can't answer by what is shown, and what the run was never trained without."""
    protocols = [(one, found.get("protocol", {})) for of in variants.values() for one, found in of.items()]
    silent: dict[str, list[str]] = {}
    for one, protocol in protocols:
        for name in protocol.get("not_answerable", {}):
            silent.setdefault(name, []).append(one)
    notes = [f"“{name}” is not answerable with {', '.join(those)} alone." for name, those in silent.items()]
    unseen = dict.fromkeys(name for _, protocol in protocols for name in protocol.get("never_missing", ()))
    if unseen:
        notes.append(
            f"No clip of the training lacked {' or '.join(unseen)}: what falls without it may be the surprise, not "
            "what it tells. Train with modality dropout (input.modality_dropout.drop) to know."
        )
    return [tag("p", text(said), class_="note warning") for said in notes]


def examples(groups: Sequence[ClipGroup]) -> Part:
    """Clips that a model did best and worst on."""
    how = "Held-out clips with what the model said of them, chosen for their scores. Click a clip to play it."
    title = "Best and worst clips"
    inside = section("examples", title, how, sampled_answers.judged_clips(groups)) if groups else ""
    return Part("examples", title, inside)
