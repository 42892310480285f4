"""What of every clip of an epoch is shown, known before anything is decoded."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True)
class SampledExamples:
    """Clips, and what of them is shown.

    Attributes:
      clip: number of each clip.
      caption: numbers of its captions; -1 behind them.
      present: which modalities are shown, in the order of `MODALITIES`.
      aligned: False where the sound is shifted against the picture.
      view: which of the views of the clip; not given, it is 0.
      partner: number of the clip that is mixed into it, -1 for none; not given, it is -1.
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
        """Those at some places."""
        return SampledExamples(*(getattr(self, field.name)[which] for field in dataclasses.fields(self)))
