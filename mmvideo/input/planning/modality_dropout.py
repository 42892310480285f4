"""Which modalities of a clip are shown while training: sampled groups, and modality dropout."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from mmvideo.input.config import ModalityDropout
from mmvideo.stream import MODALITIES

DRAWS = 1 + len(MODALITIES)
"""Numbers that are drawn for a clip."""


def members(groups: Sequence[str]) -> Bool[np.ndarray, "g 3"]:
    """The modalities of groups such as `text-video+audio`.

    Raises:
      ValueError: a name that is no modality.
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
    """Whether each clip has all modalities of each group."""
    return (has[:, None, :] | ~members(groups)).all(axis=-1)


def shown(
    has: Bool[np.ndarray, "n 3"], presence: ModalityDropout, uniform: Float[np.ndarray, "n 4"]
) -> Bool[np.ndarray, "n 3"]:
    """The modalities that clips show, by numbers drawn from [0, 1).

    A clip first draws one of the groups that it can serve (VALOR, arXiv 2304.08345). Of what that leaves, each
    modality is left out at its rate; where this would leave none, one of them stays, each as often.
    """
    if presence.groups:
        has = _grouped(has, presence, uniform[:, 0])
    rates = np.array([presence.drop.get(name, 0.0) for name in MODALITIES])
    chance = uniform[:, 1:]
    kept = has & (chance >= rates)
    # Of numbers below their rates, the largest for its rate is any of them with the same chance.
    last = np.where(has, chance / np.maximum(rates, 1e-30), -1).argmax(axis=1)
    stays = ~kept.any(axis=1, keepdims=True) & has & (np.arange(len(MODALITIES)) == last[:, None])
    return kept | stays


def _grouped(has: np.ndarray, presence: ModalityDropout, uniform: np.ndarray) -> np.ndarray:
    """What is left of clips that show one drawn group; a clip that can serve none stays as it is."""
    weights = np.ones(len(presence.groups)) if presence.weights is None else np.asarray(presence.weights, np.float64)
    edges = np.cumsum(serves(has, presence.groups) * weights, axis=1)
    total = edges[:, -1]
    # Just below the total, so that rounding never leads past the last group that can be served.
    drawn = np.minimum(uniform * total, np.nextafter(total, 0))
    group = (edges > drawn[:, None]).argmax(axis=1)
    return np.where(total[:, None] > 0, members(presence.groups)[group], has)
