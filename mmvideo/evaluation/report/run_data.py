"""What a report shows, as plain values: the page knows no model and no corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mmvideo.evaluation.results import read_result
from mmvideo.records.lines import read_lines


@dataclasses.dataclass(frozen=True)
class ClipView:
    """A clip as it is shown.

    Attributes:
      id: its name.
      caption: its first caption; empty without one.
      media: a small mp4 that a browser plays, or None.
      frame: its middle picture, or None for a clip without pictures.
    """

    id: str
    caption: str = ""
    media: bytes | None = dataclasses.field(default=None, repr=False)
    frame: UInt8[np.ndarray, "H W 3"] | None = None


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A clip at its place in a ranking.

    Attributes:
      clip: the clip.
      rank: its place, from 1.
      similarity: cosine to the query.
      right: whether it is what the query asks for.
    """

    clip: ClipView
    rank: int
    similarity: float
    right: bool


@dataclasses.dataclass(frozen=True)
class GalleryQuery:
    """A query with its best-ranked clips.

    Attributes:
      source, target: modality of the query and of the gallery.
      query: the clip that asks; of it only the modality `source` is given.
      ranked: the best-ranked clips, and the best right one wherever it stands.
      clips: how many clips were ranked, of equal captions one where captions are ranked.
      right: how many of them are right: all that share the query's caption.
    """

    source: str
    target: str
    query: ClipView
    ranked: Sequence[Ranked]
    clips: int
    right: int = 1


@dataclasses.dataclass(frozen=True)
class JudgedClip:
    """A clip with what a model said of it.

    Attributes:
      clip: the clip.
      lines: what is written under it: the answer, the truth.
      score: how good the answer is, in the unit that the group names.
      right: whether it is right; None where that is no question.
    """

    clip: ClipView
    lines: Sequence[str]
    score: float
    right: bool | None = None


@dataclasses.dataclass(frozen=True)
class ClipGroup:
    """Clips shown side by side, such as those that a model did best on.

    Attributes:
      title: what they are.
      clips: the clips, in the order in which they are shown.
      score: what their score is.
    """

    title: str
    clips: Sequence[JudgedClip]
    score: str = ""


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """What a masked objective sees and what it makes of the rest.

    Attributes:
      id: the clip.
      modality: `video` (pictures are uint8 `[T, H, W, 3]`) or `audio` (float `[T, M]`).
      masked, reconstruction, original: the three pictures; what was visible is shown as it is in all.
        In `masked`, what is hidden is NaN (audio) or grey (video).
      hidden: share of the tokens that were hidden.
      note: what else must be known to read the picture.
    """

    id: str
    modality: str
    masked: np.ndarray
    reconstruction: np.ndarray
    original: np.ndarray
    hidden: float
    note: str = ""


@dataclasses.dataclass(frozen=True)
class AttentionView:
    """Where one modality of a clip looks in the clip's pictures.

    Attributes:
      id: the clip.
      caption: its caption.
      source: the modality that looks.
      layer: the layer it looks in.
      frames: the pictures.
      weights: attention on each cell of the token grid, summing to 1 over the pictures.
      shares: how much of the attention goes to each modality of the clip, summing to 1.
    """

    id: str
    caption: str
    source: str
    layer: int
    frames: UInt8[np.ndarray, "T H W 3"]
    weights: Float[np.ndarray, "t y x"]
    shares: dict[str, float]


@dataclasses.dataclass(frozen=True)
class ReportData:
    """Everything on the page. A part that is empty is left out of it.

    Attributes:
      name: the run's name.
      summary: what the run was, as pairs of a word or two and a value.
      config: the run's config.json.
      metrics: the lines of metrics.jsonl.
      evaluations: the files of evals/ by name.
      ledger: the lines of ledger.jsonl.
      gallery: queries with their best clips.
      reconstructions: masked input beside reconstruction.
      attention: attention over frames.
      skipped: clips that could not be used, with the reason.
      examples: clips with what was said of them, the best and the worst.
      planned: names of figures, each as it was planned and as it was measured, in words, and how to compare them.
    """

    name: str
    summary: Sequence[tuple[str, str]] = ()
    config: str = ""
    metrics: Sequence[dict[str, Any]] = ()
    evaluations: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    ledger: Sequence[dict[str, Any]] = ()
    gallery: Sequence[GalleryQuery] = ()
    reconstructions: Sequence[Reconstruction] = ()
    attention: Sequence[AttentionView] = ()
    skipped: Sequence[tuple[str, str]] = ()
    examples: Sequence[ClipGroup] = ()
    planned: Sequence[tuple[str, str, str, str]] = ()


def read_run(workdir: str | Path, name: str | None = None, **shown: Any) -> ReportData:
    """The written record of a run, with what `shown` adds to it (other fields of `ReportData`).

    Args:
      workdir: a run's folder; what it lacks stays empty.
      name: the run's name; None takes the folder's.

    Raises:
      FileNotFoundError: there is no such folder.
      DamagedRecord: an evaluation isn't what was written, with its file.
    """
    folder = Path(workdir)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no workdir {folder}; give the folder of a run")
    config = folder / "config.json"
    return ReportData(
        name=name or folder.resolve().name,
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        metrics=read_lines(folder / "metrics.jsonl"),
        evaluations={path.stem: read_result(path) for path in _evaluations(folder)},
        ledger=read_lines(folder / "ledger.jsonl"),
        **shown,
    )


def _evaluations(folder: Path) -> list[Path]:
    """The metrics files of evals/; drafts and predictions are not among them."""
    return [path for path in sorted((folder / "evals").glob("*.json")) if not path.name.startswith(".")]
