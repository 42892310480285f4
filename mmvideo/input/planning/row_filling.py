"""Fill of the rows of a run, and advice on settings where it is low.

Advice is measured, not estimated: a sample of the run's own clips is packed again with other settings, and the message
reports the resulting fill.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Int

from mmvideo.input.config import Packing
from mmvideo.input.planning.budgets import fill, widest_budgets
from mmvideo.input.planning.packer import pack

_LOG = logging.getLogger(__name__)

WELL_FILLED, AIM, GAIN = 0.8, 0.9, 0.05
"""Shares of the token slots: advice is given below the first, aims at the second, and gains at least the third."""

SAMPLE = 256
"""Number of clips that are packed to try a setting."""

LARGER, SMALLER = (1.25, 1.5, 2, 3, 4, 6, 8, 12, 16), (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Multiples of a setting that are tried, the nearest first."""


@dataclasses.dataclass(frozen=True)
class Change:
    """Another packing and the fill of its rows.

    Attributes:
      words: the setting to change, with its old and new value.
      purpose: the side effect on a step.
      filled: share of the token slots.
    """

    words: str
    purpose: str
    filled: float

    def __str__(self) -> str:
        return f"{self.words} (rows {self.filled:.0%} full, {self.purpose})"


def report_filling(needs: Int[np.ndarray, "n 9"], rows: int, budget: Int[np.ndarray, " 9"], packing: Packing) -> None:
    """Log the fill of the rows, and advice where another setting would fill them better.

    Args:
      needs: slots that the clips need, in packing order.
      rows: number of rows of these clips.
      budget: slots of a row.
      packing: the settings of the budget.
    """
    share = float(fill(needs, rows, budget)[0])
    _LOG.info("rows are %.1f %% full", 100 * share)
    if share >= WELL_FILLED or rows <= 1:
        return
    found = changes(needs[:SAMPLE], packing)
    advice = ", or ".join(map(str, found)) or "Other numbers of tokens and clips don't fill them much better"
    _LOG.warning(
        "rows are only %.0f %% full: clips take %.0f tokens on average, and a row has room for %d tokens and "
        "%d clips. %s",
        100 * share, needs[:, 0].mean(), packing.tokens, packing.clips, advice[0].upper() + advice[1:],
    )  # fmt: skip


def changes(needs: Int[np.ndarray, "n 9"], packing: Packing) -> list[Change]:
    """Return up to two changes of one setting each that fill rows better, the ones that change least first."""
    before = _filled(needs, packing)
    tried = [_nearest(tries, needs, before) for tries in _tries(needs[:, 0], packing)]
    found = [change for change in tried if change is not None]
    good = [change for change in found if change.filled >= AIM]
    return (good or sorted(found, key=lambda change: -change.filled))[:2]


def _tries(tokens: np.ndarray, packing: Packing) -> Iterator[Sequence[tuple[str, str, Packing]]]:
    """Yield for each setting the values to try: words, purpose and packing; budgets of one modality first."""
    for name in ("video", "audio", "text"):
        value = getattr(packing, name)
        if value is not None:
            words = f"leave input.packing.{name} out, which is {value}"
            yield [(words, "with a budget chosen from the corpus", dataclasses.replace(packing, **{name: None}))]
    up = sorted({math.ceil(packing.clips * factor) for factor in LARGER})
    yield [_turn(packing, "clips", value, "raise", "more clips a step") for value in up]
    down = {_eighths(packing.tokens * factor) for factor in SMALLER}
    # As many as the slots for clips can fill, and rows of one, two or three of the largest clip.
    down |= {_eighths(packing.clips * tokens.mean()), *(_eighths(count * tokens.max()) for count in (1, 2, 3))}
    below = sorted((value for value in down if value < packing.tokens), reverse=True)
    yield [_turn(packing, "tokens", value, "lower", "less work a step") for value in below]
    wide = [_eighths(packing.tokens * factor) for factor in LARGER[:5]]
    yield [_turn(packing, "tokens", value, "raise", "more clips and more work a step") for value in wide]


def _turn(packing: Packing, name: str, value: int, way: str, purpose: str) -> tuple[str, str, Packing]:
    words = f"{way} input.packing.{name} from {getattr(packing, name)} to {value}"
    return words, purpose, dataclasses.replace(packing, **{name: value})


def _nearest(tries: Sequence[tuple[str, str, Packing]], needs: np.ndarray, before: float) -> Change | None:
    """Return the first try that reaches the aim, else the best try with a gain, else None."""
    best: Change | None = None
    for words, purpose, packing in tries:
        filled = _filled(needs, packing)
        # The first change must gain GAIN; a later, larger change replaces it if it is at least as good.
        if filled >= max(before, best.filled if best else 0.0) + (0.0 if best else GAIN):
            best = Change(words, purpose, filled)
        if filled >= AIM:
            break
    return best


def _filled(needs: np.ndarray, packing: Packing) -> float:
    """Return the share of token slots that these clips fill with other settings; 0 where a clip fits no row."""
    budget = widest_budgets(needs, needs.max(axis=0), packing)
    if budget is None:
        return 0.0
    return float(fill(needs, int(pack(needs, budget).max(initial=-1)) + 1, budget)[0])


def _eighths(tokens: int | float | np.number) -> int:
    """Return the number of tokens rounded up to a multiple of 8."""
    return math.ceil(tokens / 8) * 8
