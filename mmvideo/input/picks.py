"""What of every clip of an epoch is shown, known before anything is decoded."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Int


@dataclasses.dataclass(frozen=True)
class Picks:
    """Clips, and what of them is shown.

    Attributes:
      clip: number of each clip.
      caption: numbers of its captions; -1 behind them.
      present: which modalities are shown, in the order of `MODALITIES`.
      aligned: False where the sound is shifted against the picture.
    """

    clip: Int[np.ndarray, " n"]
    caption: Int[np.ndarray, "n k"]
    present: Bool[np.ndarray, "n 3"]
    aligned: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.clip)

    def __getitem__(self, which: Any) -> Picks:
        """Those at some places."""
        return Picks(self.clip[which], self.caption[which], self.present[which], self.aligned[which])
