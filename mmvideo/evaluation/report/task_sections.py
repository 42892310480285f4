"""Sections of the page for tasks: classification, numbers, captions, moments, and the gain of each modality."""

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
    """Return the name of an evaluation without the modalities that the model saw."""
    # `retrieval.video+text` has the kind `retrieval`, and `classification@samples` keeps its name.
    before, _, after = name.rpartition(".")
    return before if before and set(after.split("+")) <= set(MODALITIES) else name


def task(name: str) -> str:
    """Return the task of an evaluation: its `kind` without the name of its clips."""
    return kind(name).partition("@")[0]


def shown(name: str) -> str:
    """Return the modalities that the model saw in an evaluation, `all` if its name has none."""
    return name.removeprefix(kind(name)).removeprefix(".") or _WHOLE


def split(
    evaluations: Mapping[str, dict[str, Any]],
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, dict[str, Any]]]]:
    """Return the evaluations with sections of their own, and those to compare by modalities.

    Returns:
      By name: of each kind the evaluation with all modalities, or else the one with the most. And by kind, if there are
      several, all of them by their modalities.
    """
    kinds: dict[str, dict[str, dict[str, Any]]] = {}
    for name in sorted(evaluations, key=lambda name: (kind(name), shown(name) != _WHOLE, _order(name))):
        kinds.setdefault(kind(name), {})[shown(name)] = evaluations[name]
    whole = {}
    for name, variants in kinds.items():
        # Variants `video` and `video+text` without `all`: `video+text` gets the section.
        most = _WHOLE if _WHOLE in variants else max(variants, key=lambda one: one.count("+"))
        whole[name if most == _WHOLE else f"{name}.{most}"] = variants[most]
    return whole, {name: variants for name, variants in kinds.items() if len(variants) > 1}


def _order(name: str) -> tuple[int, list[int]]:
    """Return a sort key with single modalities first, in the order of the stream."""
    places = [MODALITIES.index(one) for one in shown(name).split("+") if one in MODALITIES]
    return len(places), places


def source(found: Mapping[str, Any]) -> str:
    """Return a sentence with the clips of an evaluation and its step."""
    return (
        f"{number(found['clips'])} clips of {text(found['dataset'])}, split “{text(found['split'])}”, "
        f"at step {number(found['checkpoint_step'])}."
    )


def titled(title: str, name: str) -> str:
    """Return the title of an evaluation's section, with its modalities unless they are all."""
    title += f" on {dataset}" if (dataset := kind(name).partition("@")[2]) else ""
    return title if shown(name) == _WHOLE else f"{title} ({shown(name)})"


def task_part(name: str, found: Mapping[str, Any]) -> Part:
    """Return the section of an evaluation whose `task` is in `TASKS`."""
    title, how, inside = TASKS[task(name)]
    title = titled(title, name)
    details = found.get("details", {})
    protocol = result_tables.protocol_note(found.get("protocol", {}))
    return Part(name, title, section(name, title, how + source(found), *inside(found["metrics"], details), protocol))


def _classification(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the table, and for each objective its confusion matrix or its curves."""
    parts = [result_tables.objective_table(metrics)]
    for objective, one in details.items():
        if not one:  # of no clip is the truth known
            continue
        parts.append(tag("h3", text(objective)))
        picture = confusion.confusion_picture(one)
        curves = curve_plots.pr_charts(one)
        if picture:
            parts.append(tag("div", tag("div", picture), confusion.confused_pairs(one), class_="side"))
        if picture and curves:
            # The matrix is enough for one label a clip, so the curves are collapsed; several labels have only curves.
            curves = tag("details", tag("summary", "Precision over recall, each class against the rest"), curves)
        parts += [result_tables.absent_note(one), curves, confusion.class_table(one)]
    return parts


def _regression(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the table, and a scatter plot of each objective."""
    charts = "".join(curve_plots.scatter(one, objective) for objective, one in details.items())
    return [result_tables.objective_table(metrics), tag("div", charts, class_="charts") if charts else ""]


def _captioning(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the table and samples."""
    table = sampled_answers.caption_table(details.get("samples", []))
    return [result_tables.metric_table(metrics), tag("h3", "Samples") + table if table else ""]


def _moments(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the tables, and queries over time."""
    strips = sampled_answers.moment_strips(details.get("samples", []))
    return [result_tables.moment_tables(metrics), tag("h3", "Queries over time") + strips if strips else ""]


def _zero_shot(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> list[str]:
    """Return the table."""
    return [result_tables.objective_table(metrics)]


TASKS = {
    "zero_shot": (
        "Zero-shot classification",
        "Each clip gets the class whose name, in prompts, is the most similar to it; a row is a kind of label and "
        "a group of modalities. The bar of top-1 has an orange mark at chance: always predicting the most "
        "frequent class. ",
        _zero_shot,
    ),
    "classification": (
        "Classification",
        "Classes predicted for held-out clips. The bar of top-1 has an orange mark at chance: always predicting the "
        "most frequent class. Means over classes give every class that has a clip the same weight, however "
        "rare. ",
        _classification,
    ),
    "captioning": (
        "Captioning",
        "Captions generated for held-out clips, scored against human captions. Scores are printed times "
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
        "Moments of a video found for a sentence. R1@x is the share of queries whose first window overlaps a true "
        "one by x or more (intersection over union). mAP ranks all windows by their scores; without an x it is the "
        "mean over overlaps of 0.5 to 0.95. By length, only true moments of that length count. ",
        _moments,
    ),
    "regression": (
        "Predicted numbers",
        "Numbers predicted for held-out clips. “MAE of the median” is the error of always predicting the median. ",
        _regression,
    ),
}
"""Title, introduction and content function of a section, by kind of evaluation."""


def modalities(variants: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Part:
    """Return the section of the same measurements with only some modalities of the clips.

    Args:
      variants: By kind of evaluation, the evaluations by their modalities.
    """
    how = (
        "The same model and the same clips, with only some of their modalities. Each row is a metric, with its best "
        "value bold. A model that uses both video and audio is better with both than with either."
    )
    measured = {name: {one: found["metrics"] for one, found in of.items()} for name, of in variants.items()}
    parts = [result_tables.added_table(gains_by_modality(measured)), *_partial_notes(variants)]
    for name, metrics in measured.items():
        parts += [tag("h3", text(name.replace("_", " ").capitalize())), result_tables.ablation_table(name, metrics)]
    title = "Modalities"
    return Part("modalities", title, section("modalities", title, how, *parts) if variants else "")


def _partial_notes(variants: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Return notes on objectives that some modalities can't answer, and on modalities never missing in training."""
    protocols = [(one, found.get("protocol", {})) for of in variants.values() for one, found in of.items()]
    silent: dict[str, list[str]] = {}
    for one, protocol in protocols:
        for name in protocol.get("not_answerable", {}):
            silent.setdefault(name, []).append(one)
    notes = [f"“{name}” is not answerable with {', '.join(those)} alone." for name, those in silent.items()]
    unseen = dict.fromkeys(name for _, protocol in protocols for name in protocol.get("never_missing", ()))
    if unseen:
        notes.append(
            f"No training clip lacked {' or '.join(unseen)}: a drop without it may come from the unusual input "
            "instead of the missing content. Train with modality dropout (input.modality_dropout.drop) to find out."
        )
    return [tag("p", text(said), class_="note warning") for said in notes]


def examples(groups: Sequence[ClipGroup]) -> Part:
    """Return the section of the clips with the best and the worst predictions."""
    how = "Held-out clips with the model's predictions, chosen by their scores. Click a clip to play it."
    title = "Best and worst clips"
    inside = section("examples", title, how, sampled_answers.judged_clips(groups)) if groups else ""
    return Part("examples", title, inside)
