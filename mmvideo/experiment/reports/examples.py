"""The best and worst clips of a run, by the predictions that its evaluations stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmvideo.evaluation.qualitative.gallery import best_and_worst
from mmvideo.evaluation.report.run_data import ClipGroup
from mmvideo.evaluation.results import read_predictions
from mmvideo.input.pipeline import Batches

OBJECTIVES = 3
"""Largest number of classification objectives whose clips are shown."""


def examples(workdir: Path, batches: Batches) -> list[ClipGroup]:
    """Return the best and worst clips of classification and captioning, as far as these clips were evaluated.

    Args:
      workdir: folder of an evaluated run.
      batches: held-out clips of the report.
    """
    corpus = batches.corpus
    # Predictions name clips by id, pages need their index: {"clip_a": 0, "clip_b": 1}. Unknown ids are of other
    # corpora.
    number = {batches.clip_id(clip): clip for clip in range(len(corpus))}
    rows = [row for row in _predictions(workdir, "classification") if row["id"] in number]
    found = []
    names = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    for name in names[:OBJECTIVES]:
        # Several classes per clip are stored as a list, and are not ranked here.
        single = [row for row in rows if isinstance(row["truth"].get(name), str)]
        found += _classes(name, single, [number[row["id"]] for row in single], corpus.record) if single else []
    written = [row for row in _predictions(workdir, "captioning") if row["id"] in number and row["truth"]]
    return found + (_captions(written, [number[row["id"]] for row in written], corpus.record) if written else [])


def _classes(name: str, rows: Sequence[Mapping[str, Any]], number: Sequence[int], record: Any) -> list[ClipGroup]:
    """Rank clips by the probability of the true class; 0 if it is not among the stored ones."""
    answers = [next(iter(row["scores"][name])) for row in rows]
    score = [row["scores"][name].get(row["truth"][name], 0.0) for row in rows]
    right = [answer == row["truth"][name] for answer, row in zip(answers, rows, strict=True)]

    def lines(place: int) -> list[str]:
        truth = rows[place]["truth"][name]
        return [truth] if right[place] else [f"{answers[place]}?", f"it is: {truth}"]

    unit = "probability of the true class"
    return best_and_worst(name, np.array(number), np.array(score), lines, record, unit=unit, right=np.array(right))


def _captions(rows: Sequence[Mapping[str, Any]], number: Sequence[int], record: Any) -> list[ClipGroup]:
    """Rank clips by CIDEr-D."""
    score = [row["scores"].get("cider_d", np.nan) for row in rows]

    def lines(place: int) -> list[str]:
        return [rows[place]["caption"] or "(nothing)", f"reference: {rows[place]['truth'][0]}"]

    return best_and_worst("Captions", np.array(number), np.array(score, float), lines, record, unit="CIDEr-D")


def _predictions(workdir: Path, name: str) -> list[dict[str, Any]]:
    """Return the predictions of an evaluation; empty where it was not made."""
    path = workdir / "evals" / f"{name}.json"
    return read_predictions(path) if path.is_file() else []
