"""One clip as its manifest, or its place in a folder, tells of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mmvideo.datasets.manifests.annotations import Label, Saliency


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One clip as its manifest tells of it.

    Attributes:
      id: name of the clip, unique in its manifest.
      media: absolute path of the file.
      start, end: the cut of the file in seconds; None is the file's own start or end.
      captions: what the clip shows or sounds like, one text or several of the same meaning.
      labels: for each kind of label that is known a class name, several of them, or a number.
      split: name of the split.
      tags: words for what is in the clip.
      attributes: everything else that the manifest says, as JSON values; moments, saliency and events are kept here
        in the manifest's words.
      moments: stretches `(start, end)` in seconds after the start of the clip, what its first caption tells of; None
        where that is unknown.
      saliency: how well each part of the clip shows it; None where that is unknown.
      line: line of the manifest, or 0 for a clip that was found without one.
      fault: why the clip must be left out, although its row can be read; None where nothing is wrong.
    """

    id: str
    media: Path
    start: float | None = None
    end: float | None = None
    captions: tuple[str, ...] = ()
    labels: dict[str, Label] = dataclasses.field(default_factory=dict)
    split: str = "train"
    tags: tuple[str, ...] = ()
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    moments: tuple[tuple[float, float], ...] | None = None
    saliency: Saliency | None = None
    line: int = 0
    fault: str | None = None
