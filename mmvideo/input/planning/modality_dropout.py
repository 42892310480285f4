"""Modalities shown of a clip in training: sampled groups and modality dropout."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from mmvideo.input.config import ModalityDropout
from mmvideo.stream import MODALITIES

DRAWS = 1 + len(MODALITIES)
"""Random values per clip: one for the group, one for each modality."""


def members(groups: Sequence[str]) -> Bool[np.ndarray, "g 3"]:
    """Return the modalities of groups such as `text-video+audio`.

    Raises:
      ValueError: a name is no modality.
    """
    result = np.zeros((len(groups), len(MODALITIES)), bool)
    for row, group in enumerate(groups):
        for name in re.split(r"[-+]", group):
            if name not in MODALITIES:
                raise ValueError(
                    f"input.modality_dropout.groups names {group!r}, but {name!r} is none of {', '.join(MODALITIES)}"
                )
            result[row, MODALITIES.index(name)] = True
    return result


def serves(has: Bool[np.ndarray, "n 3"], groups: Sequence[str]) -> Bool[np.ndarray, "n g"]:
    """Return whether each clip has all modalities of each group."""
    return (has[:, None, :] | ~members(groups)).all(axis=-1)


def shown(
    has: Bool[np.ndarray, "n 3"], presence: ModalityDropout, uniform: Float[np.ndarray, "n 4"]
) -> Bool[np.ndarray, "n 3"]:
    """Return the modalities that each clip shows, decided by values drawn from [0, 1).

    A clip first draws one of the groups that it can serve (VALOR, arXiv 2304.08345). Each modality of the result is
    then dropped at its rate. If all would be dropped, one of them stays; each is equally likely to stay.
    """
    if presence.groups:
        has = _grouped(has, presence, uniform[:, 0])
    rates = np.array([presence.drop.get(name, 0.0) for name in MODALITIES])
    chance = uniform[:, 1:]
    kept = has & (chance >= rates)
    # All values are below their rates here, so value / rate is uniform in [0, 1) for each: the argmax is a fair choice.
    last = np.where(has, chance / np.maximum(rates, 1e-30), -1).argmax(axis=1)
    stays = ~kept.any(axis=1, keepdims=True) & has & (np.arange(len(MODALITIES)) == last[:, None])
    return kept | stays


def _grouped(has: np.ndarray, presence: ModalityDropout, uniform: np.ndarray) -> np.ndarray:
    """Return the modalities after each clip draws a group; a clip that can serve none is unchanged."""
    weights = np.ones(len(presence.groups)) if presence.weights is None else np.asarray(presence.weights, np.float64)
    # Weights [1, 2, 1] of which the clip serves the first and last: edges are [1, 1, 2], and a draw of 1.3 selects the
    # last.
    edges = np.cumsum(serves(has, presence.groups) * weights, axis=1)
    total = edges[:, -1]
    # Just below the total, so that rounding never selects past the last group that the clip serves.
    drawn = np.minimum(uniform * total, np.nextafter(total, 0))
    group = (edges > drawn[:, None]).argmax(axis=1)
    return np.where(total[:, None] > 0, members(presence.groups)[group], has)
