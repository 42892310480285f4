"""Content of a report as plain values: the page depends on no model and no corpus."""

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
    """A clip for display.

    Attributes:
      id: Id of the clip.
      caption: First caption; empty without one.
      media: A small mp4 for browsers, or None.
      frame: The middle frame, or None for a clip without frames.
    """

    id: str
    caption: str = ""
    media: bytes | None = dataclasses.field(default=None, repr=False)
    frame: UInt8[np.ndarray, "H W 3"] | None = None


@dataclasses.dataclass(frozen=True)
class Ranked:
    """A clip with its rank.

    Attributes:
      clip: The clip.
      rank: Rank, from 1.
      similarity: Cosine to the query.
      right: True if the clip is right for the query.
    """

    clip: ClipView
    rank: int
    similarity: float
    right: bool


@dataclasses.dataclass(frozen=True)
class GalleryQuery:
    """A query with its best-ranked clips.

    Attributes:
      source: Modality of the query.
      target: Modality of the gallery.
      query: The clip of the query; only its modality `source` is given.
      ranked: The best-ranked clips, and the best right one at any rank.
      clips: Number of ranked clips; equal captions count once if captions are ranked.
      right: Number of right clips: all with the query's caption.
    """

    source: str
    target: str
    query: ClipView
    ranked: Sequence[Ranked]
    clips: int
    right: int = 1


@dataclasses.dataclass(frozen=True)
class JudgedClip:
    """A clip with a prediction.

    Attributes:
      clip: The clip.
      lines: Lines under the clip: the prediction, the truth.
      score: Score of the prediction, in the unit that the group names.
      right: True if the prediction is right. None if predictions are not right or wrong.
    """

    clip: ClipView
    lines: Sequence[str]
    score: float
    right: bool | None = None


@dataclasses.dataclass(frozen=True)
class ClipGroup:
    """Clips shown side by side, such as those with the best predictions.

    Attributes:
      title: Title of the group.
      clips: Clips in the order of display.
      score: Name of the score.
    """

    title: str
    clips: Sequence[JudgedClip]
    score: str = ""


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """Input and output of a masked objective for one clip.

    Attributes:
      id: Id of the clip.
      modality: `video` (images are uint8 `[T, H, W, 3]`) or `audio` (float `[T, M]`).
      masked: Visible input; hidden parts are NaN (audio) or grey (video).
      reconstruction: Prediction of the hidden parts, with the visible parts as they are.
      original: The original.
      hidden: Share of hidden tokens.
      note: Note that readers need, if any.
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
    """Attention of one modality of a clip to the frames of the clip.

    Attributes:
      id: Id of the clip.
      caption: Caption of the clip.
      source: Modality of the attending tokens.
      layer: Layer of the attention.
      frames: The frames.
      weights: Attention to each cell of the token grid, with a sum of 1 over all frames.
      shares: Share of the attention to each modality of the clip, with a sum of 1.
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
    """Content of the page. Empty parts are left out.

    Attributes:
      name: Name of the run.
      summary: Facts about the run, as pairs of a short name and a value.
      config: Content of config.json.
      metrics: Lines of metrics.jsonl.
      evaluations: Files of evals/ by name.
      ledger: Lines of ledger.jsonl.
      gallery: Queries with their best clips.
      reconstructions: Masked inputs with reconstructions.
      attention: Attention over frames.
      skipped: Clips that could not be used, with the reason.
      examples: Clips with predictions, the best and the worst.
      planned: Name, planned value, measured value and a note on the comparison of each figure, as text.
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
    """Return the written record of a run, with the other fields of `ReportData` from `shown`.

    Args:
      workdir: Folder of a run; missing files leave their fields empty.
      name: Name of the run. None takes the name of the folder.
      **shown: Other fields of `ReportData`.

    Raises:
      FileNotFoundError: There is no such folder.
      DamagedRecord: A file of an evaluation differs from what was written.
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
    """Return the metrics files of evals/, without drafts and predictions."""
    return [path for path in sorted((folder / "evals").glob("*.json")) if not path.name.startswith(".")]
