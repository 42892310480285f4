"""Single predictions: captions with their references, moments on a time line, clips with predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmvideo.evaluation.report.parts.curves import nice_ticks
from mmvideo.evaluation.report.parts.markup import number, table, tag, text
from mmvideo.evaluation.report.parts.qualitative import player
from mmvideo.evaluation.report.run_data import ClipGroup, ClipView, JudgedClip

_REFERENCES = 3
_WINDOWS = 5
_TICKS = 6


def caption_table(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return predictions with their references, and with the question if there was one."""
    if not samples:
        return ""
    asked = any("question" in sample for sample in samples)
    rows = []
    for sample in samples:
        references = [text(words) for words in sample["references"][:_REFERENCES]]
        more = len(sample["references"]) - len(references)
        references += [tag("span", f"and {number(more)} more", class_="note")] if more > 0 else []
        row = [tag("code", text(sample["id"]))]
        row += [text(sample.get("question", ""))] if asked else []
        words = [tag("b", text(sample["prediction"])), "<br>".join(references)]
        rows.append([*row, *(tag("div", inside, class_="prose") for inside in words)])
    head = ["clip", *(["question"] if asked else []), "prediction", "answers" if asked else "references"]
    return table(head, rows, len(head))


def moment_strips(samples: Sequence[Mapping[str, Any]]) -> str:
    """Return queries over the time of their videos: true moments above, predicted ones below, best first."""
    return tag("div", *map(_strip, samples), class_="moments") if samples else ""


def _strip(sample: Mapping[str, Any]) -> str:
    seconds = float(sample["seconds"])
    title = tag("figcaption", tag("b", text(sample["caption"] or sample["id"])), tag("span", text(sample["id"])))
    lanes = [_lane("truth", [_stretch(window, seconds, "true", "truth") for window in sample["truth"]])]
    # Opacity relative to the best score of the query, at least 0.15: 0.9 and 0.45 are opaque and half opaque.
    highest = max((score for *_, score in sample["predicted"]), default=1.0) or 1.0
    for place, (start, end, score) in enumerate(sample["predicted"][:_WINDOWS], 1):
        stretch = _stretch((start, end), seconds, "found", f"score {score:.3f}", max(score / highest, 0.15))
        lanes.append(_lane(f"#{place}", [stretch], f"{score:.2f}"))
    if not sample["predicted"]:
        lanes.append(_lane("found", [tag("em", "nothing")]))
    return tag("figure", title, *lanes, _axis(seconds), class_="moment")


def _lane(name: str, inside: Sequence[str], foot: str = "") -> str:
    return (
        tag("span", text(name), class_="row-name")
        + tag("div", *inside, class_="lane")
        + tag("span", foot, class_="foot")
    )


def _stretch(window: Sequence[float], seconds: float, kind: str, said: str, opacity: float = 1.0) -> str:
    left, right = (min(max(edge / seconds, 0.0), 1.0) for edge in window)
    style = f"left:{100 * left:.2f}%;width:{100 * (right - left):.2f}%;opacity:{min(opacity, 1.0):.2f}"
    return tag("i", class_=kind, style=style, title=f"{window[0]:.1f} to {window[1]:.1f} s, {said}")


def _axis(seconds: float) -> str:
    """Return an axis of seconds below the lanes."""
    marks = [tick for tick in nice_ticks(0.0, seconds, _TICKS) if tick <= seconds]
    shown = [tag("i", f"{number(tick)} s", style=f"left:{100 * tick / seconds:.2f}%") for tick in marks]
    return tag("span") + tag("div", *shown, class_="seconds") + tag("span")


def judged_clips(groups: Sequence[ClipGroup]) -> str:
    """Return clips with their predictions, each group under its title."""
    parts = []
    for group in groups:
        parts.append(tag("h3", text(group.title)))
        parts.append(tag("div", *(_judged(one, group.score) for one in group.clips), class_="tiles"))
    return "".join(parts)


def _judged(one: JudgedClip, score: str) -> str:
    lines = [tag("p", text(line), class_="words") for line in one.lines]
    value = tag("span", f"{text(score)} {one.score:.3f}".strip(), class_="similarity")
    verdict = "" if one.right is None else tag("span", "right" if one.right else "wrong", class_="right-mark")
    kind = "tile" if one.right is None else "tile right" if one.right else "tile wrong"
    return tag(
        "div",
        tag("div", _look(one.clip), *lines, class_="clip"),
        tag("div", value, verdict, class_="foot"),
        class_=kind,
    )


def _look(clip: ClipView) -> str:
    """Return a player of the clip's video, or of its audio."""
    kind = "audio" if clip.frame is None and clip.media is not None else "video"
    return player(kind, clip) + tag("div", text(clip.id), class_="name", title=clip.caption)
