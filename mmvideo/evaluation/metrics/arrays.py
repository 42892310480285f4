"""Checks of the inputs of metrics, and conversion of arrays to lists for JSON files."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Shaped

MetricsAndDetails = tuple[dict[str, float | int], dict]
"""A flat dict of numbers, and other content that a report shows."""


def checked(scores: Shaped[np.ndarray, "n C"], classes: int) -> Float[np.ndarray, "n C"]:
    """Return scores in float64.

    Raises:
      ValueError: The scores are no table with one column a class, or hold NaN.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or scores.shape[1] != classes:
        raise ValueError(f"scores of shape {list(scores.shape)} do not give one column to each of {classes} classes")
    if np.isnan(scores).any():
        raise ValueError("scores hold NaN; has the run diverged?")
    return scores


def listed(values: Shaped[np.ndarray, "..."], digits: int = 6) -> list:
    """Return an array as nested lists of plain numbers, rounded; None for values that are not finite."""
    values = np.asarray(values)
    if values.ndim > 1:
        return [listed(row, digits) for row in values]
    if values.dtype.kind in "iub":
        return values.tolist()
    return [round(value, digits) if np.isfinite(value) else None for value in values.astype(np.float64).tolist()]


def mean(values: Float[np.ndarray, "C"]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
