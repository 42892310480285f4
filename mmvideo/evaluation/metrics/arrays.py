"""What comes into the metrics and what goes out: checked scores, and lists that a JSON file can hold."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

MetricsAndDetails = tuple[dict[str, float | int], dict]
"""A flat dict of numbers, and what else a report shows of them."""


def checked(scores: Shaped[np.ndarray, "n C"], classes: int) -> Float[np.ndarray, "n C"]:
    """Scores in float64.

    Raises:
      ValueError: they are no table with a column for each class, or one is not a number.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.shape[1] != classes:
        raise ValueError(f"scores of shape {list(scores.shape)} do not give one column to each of {classes} classes")
    if np.isnan(scores).any():
        raise ValueError("scores hold values that are not numbers; has the run diverged?")
    return scores


def listed(values: Shaped[np.ndarray, "..."], digits: int = 6) -> list:
    """An array as nested lists of plain numbers, rounded; None where it is not finite."""
    values = np.asarray(values)
    if values.ndim > 1:
        return [listed(row, digits) for row in values]
    if values.dtype.kind in "iub":
        return values.tolist()
    return [round(value, digits) if np.isfinite(value) else None for value in values.astype(np.float64).tolist()]


def mean(values: Float[np.ndarray, "C"]) -> float:
    """The mean of what is defined (not NaN); NaN where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
