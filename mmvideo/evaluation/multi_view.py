"""What is said of a clip, from what is said of its views."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from mmvideo.evaluation.inference import Predictions
from mmvideo.stream import TokenStream


def predictions(learner: Any, stream: TokenStream) -> dict[str, dict[str, Any]]:
    """Asks for `Learner.predict`, whose answers evaluators share."""
    return learner.predict(stream)


def mean_over_views(
    found: Predictions, values: Shaped[np.ndarray, "n *more"], known: Bool[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, "m *more"], Bool[np.ndarray, " m"]]:
    """The mean of what is known of a clip's views, float64, and of which clips anything is.

    Args:
      found: whose views they are.
      values: of each view.
      known: which of them mean something.
    """
    first = found.first
    count = np.add.reduceat(known.astype(np.int64), first)
    shape = (-1,) + (1,) * (values.ndim - 1)
    total = np.add.reduceat(np.where(known.reshape(shape), values.astype(np.float64), 0.0), first, axis=0)
    return total / np.maximum(count, 1).reshape(shape), count > 0


def views_protocol(found: Predictions) -> dict[str, Any]:
    """How many views a clip had."""
    counts = np.diff(np.append(found.first, len(found.clip_index)))
    same = bool((counts == counts[0]).all())
    return {"views": int(counts[0]) if same else f"{counts.min()} to {counts.max()}, by the length of the clip"}
