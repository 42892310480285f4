"""The parts of a learner, and the number of parameters of each."""

from __future__ import annotations

import math
from typing import Any

import jax

from mmvideo.cost_model.flops import names

PARTS = ("video embedder", "audio embedder", "text embedder", "positions", "trunk", "decoder", "teacher", "heads")
"""The parts, in the order in which data passes them; `positions` includes the modality embedding."""

DECODERS = ("decoder", "predictor")
TEACHERS = ("teacher",)


def part_of(path: tuple[str, ...]) -> str:
    """Return the part that a variable of a `Learner` belongs to, by the names on its path.

    The decoder of masked prediction and the predictor of latent prediction count as `decoder`, all other variables of
    an objective as `heads`. The branches of a baseline count as embedders.
    """
    # Examples: (trunk, embed, video, dense, kernel) is "video embedder"; (trunk, embed, modality, table) "positions";
    # (heads, …, decoder, …) "decoder".
    root, *rest = path
    if root == "heads":
        if set(rest) & set(TEACHERS):
            return "teacher"
        return "decoder" if set(rest) & set(DECODERS) else "heads"
    if rest[0] in ("embed", "branches") and f"{rest[1]} embedder" in PARTS:
        return f"{rest[1]} embedder"
    return "positions" if rest[0] in ("embed", "position") else "trunk"


def count_parameters(variables: Any) -> dict[str, int]:
    """Return the number of parameters of each part, in the order of `PARTS`; empty parts are left out.

    Args:
      variables: nested dicts of a learner's arrays, which may be abstract.
    """
    sizes = dict.fromkeys(PARTS, 0)
    for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]:
        sizes[part_of(names(path))] += math.prod(leaf.shape)
    return {part: size for part, size in sizes.items() if size}
