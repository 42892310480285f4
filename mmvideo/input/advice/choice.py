"""Choice of one setting from the corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from mmvideo.input.config import Input
from mmvideo.input.mixture import CorpusMixture


@dataclasses.dataclass(frozen=True)
class Choice:
    """A value and its reason.

    Attributes:
      value: value of the field.
      why: reason, as words that follow the value.
    """

    value: Any
    why: str


@dataclasses.dataclass(frozen=True)
class Situation:
    """Inputs of a choice.

    Attributes:
      input: settings so far, including the user's fields and earlier choices.
      corpus: the training clips.
      given: dotted names of the fields that the user set, such as `input.video.size`.
    """

    input: Input
    corpus: CorpusMixture
    given: frozenset[str] = frozenset()

    def has_given(self, field: str) -> bool:
        """Return whether the user set a field of the input, such as `video.size`."""
        return f"input.{field}" in self.given


Chooser = Callable[[Situation], Choice | None]
"""Function that chooses a field; None leaves it unchanged."""


def spread(values: np.ndarray, unit: str, digits: int = 2) -> str:
    """Return smallest, largest and median value as `0.25 to 2.8 s (median 0.72)`, or the one that all have."""
    low, middle, high = (f"{round(float(value), digits):g}" for value in np.quantile(values, [0, 0.5, 1]))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit} (median {middle})"
