"""One field of the settings that is chosen from the corpus."""

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
      value: of the field.
      why: the reason, as words that follow the value.
    """

    value: Any
    why: str


@dataclasses.dataclass(frozen=True)
class Situation:
    """What a choice may depend on.

    Attributes:
      input: the settings so far; fields that were given hold what was given, and earlier choices are made.
      corpus: the training clips.
      given: dotted names of the fields that the user gave, such as `input.video.size`.
    """

    input: Input
    corpus: CorpusMixture
    given: frozenset[str] = frozenset()

    def has_given(self, field: str) -> bool:
        """Whether the user gave a field of the input, such as `video.size`."""
        return f"input.{field}" in self.given


Chooser = Callable[[Situation], Choice | None]
"""Chooses a field; None leaves it as it is."""


def spread(values: np.ndarray, unit: str, digits: int = 2) -> str:
    """The least, median and largest of some numbers, as `0.25 to 2.8 s (median 0.72)`, or the one that all have."""
    low, middle, high = (f"{round(float(value), digits):g}" for value in np.quantile(values, [0, 0.5, 1]))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit} (median {middle})"
