"""Samples of an epoch: the shown content of every clip, known before decoding."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True)
class SampledExamples:
    """Clips and their shown content.

    Attributes:
      clip: number of each clip.
      caption: numbers of its captions; -1 pads the rest.
      present: True for each modality that is shown, in the order of `MODALITIES`.
      aligned: False where the audio is shifted against the video.
      view: index of the view of the clip; 0 if not given.
      partner: number of the clip that is mixed into it, -1 for none; -1 if not given.
    """

    clip: Int[np.ndarray, " n"]
    caption: Int[np.ndarray, "n k"]
    present: Bool[np.ndarray, "n 3"]
    aligned: Bool[np.ndarray, " n"]
    view: Int[np.ndarray, " n"] | None = None
    partner: Int[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        for name, value in (("view", 0), ("partner", -1)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.full(len(self.clip), value, np.int64))

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, which: Any) -> SampledExamples:
        """Return the samples at these indices."""
        return SampledExamples(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))
