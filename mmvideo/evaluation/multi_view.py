"""Predictions for a clip from the predictions for its views."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mmvideo.evaluation.inference import Predictions
from mmvideo.stream import TokenStream


def predictions(learner: Any, stream: TokenStream) -> dict[str, dict[str, Any]]:
    """Return `Learner.predict`; evaluators share this function, so that it runs once."""
    return learner.predict(stream)


def mean_over_views(
    found: Predictions, values: Shaped[np.ndarray, "n *more"], known: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "m *more"], Bool[np.ndarray, " m"]]:
    """Return the mean over the known views of each clip in float64, and a mask of the clips with any.

    Args:
      found: Predictions with the clip of each view.
      values: Values of each view.
      known: Mask of the meaningful values.
    """
    first = found.first
    # reduceat sums from each first row to the next: known [1, 0, 1, 1, 1] with first [0, 2] gives [1, 3].
    count = np.add.reduceat(known.astype(np.int64), first)
    shape = (-1,) + (1,) * (values.ndim - 1)
    total = np.add.reduceat(np.where(known.reshape(shape), values.astype(np.float64), 0.0), first, axis=0)
    return total / np.maximum(count, 1).reshape(shape), count > 0


def views_protocol(found: Predictions) -> dict[str, Any]:
    """Return the number of views of a clip, or its range."""
    counts = np.diff(np.append(found.first, len(found.clip_index)))
    # first [0, 3] of 5 views: counts [3, 2], which reads "2 to 3".
    same = bool((counts == counts[0]).all())
    return {"views": int(counts[0]) if same else f"{counts.min()} to {counts.max()}, by the length of the clip"}
