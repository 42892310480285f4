"""The parts of a learner: which parameter belongs to which, and how many each has."""

from __future__ import annotations

import math
from typing import Any

import jax

from mmvideo.cost_model.flops import names

PARTS = ("video embedder", "audio embedder", "text embedder", "positions", "trunk", "decoder", "teacher", "heads")
"""The parts, in the order in which data passes them; `positions` holds the vector of each modality too."""

DECODERS = ("decoder", "predictor")
TEACHERS = ("teacher",)


def part_of(path: tuple[str, ...]) -> str:
    """The part that a variable of a `Learner` belongs to, by the names on its path.

    The decoder of masked prediction and the predictor of latent prediction count as `decoder`,
    whatever of an objective is neither as `heads`. The branches of a baseline count as embedders.
    """
    room, *rest = path
    if room == "heads":
        if set(rest) & set(TEACHERS):
            return "teacher"
        return "decoder" if set(rest) & set(DECODERS) else "heads"
    if rest[0] in ("embed", "branches") and f"{rest[1]} embedder" in PARTS:
        return f"{rest[1]} embedder"
    return "positions" if rest[0] in ("embed", "position") else "trunk"


def count_parameters(variables: Any) -> dict[str, int]:
    """How many numbers each part has, in the order of `PARTS`; parts without any are left out.

    Args:
      variables: nested dicts of a learner's arrays, which may be abstract.
    """
    sizes = dict.fromkeys(PARTS, 0)
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        sizes[part_of(names(path))] += math.prod(leaf.shape)
    return {part: size for part, size in sizes.items() if size}
