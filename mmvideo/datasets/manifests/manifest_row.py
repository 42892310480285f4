"""Row of a manifest: one clip as described there, or by its path in a folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mmvideo.datasets.manifests.annotations import Label, Saliency


@dataclasses.dataclass(frozen=True)
class ManifestRow:
    """One clip as its manifest describes it.

    Attributes:
      id: id of the clip, unique in its manifest.
      media: absolute path of the file.
      start, end: cut of the file in seconds; None is the file's own start or end.
      captions: descriptions of what is seen or heard, one text or several of the same meaning.
      labels: class name, several class names or number of each known label type.
      split: name of the split.
      tags: words that describe the content.
      attributes: all other manifest entries, as JSON values, including moments, saliency and events as written there.
      moments: stretches `(start, end)` that the first caption describes, in seconds from the start of the clip; None
        where they are unknown.
      saliency: scores of the clip's windows; None where they are unknown.
      line: line of the manifest, or 0 for a clip found without one.
      fault: reason for leaving the clip out, although its row can be read; None without a fault.
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
