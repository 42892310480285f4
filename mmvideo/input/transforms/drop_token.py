"""DropToken: a share of the tokens of a modality is left out while training (VATT, arXiv 2104.11178).

What is left out is neither encoded nor predicted. Hidden and visible tokens lose the same share, each
by an exact number that follows from theirs, so that rows are planned before anything is drawn.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.transforms.masking import share_of


def kept_count(tokens: Int[np.ndarray, "*n"], share: float) -> Int[np.ndarray, "*n"]:
    """How many of so many tokens stay when a share of them is dropped; one at least."""
    return tokens - share_of(share, tokens)


def drop_token_mask(hidden: Bool[np.ndarray, " N"], share: float, rng: np.random.Generator) -> Bool[np.ndarray, " N"]:
    """True where a token stays, drawn among the hidden ones and among the others."""
    if share == 0:
        return np.ones_like(hidden)
    result = np.zeros_like(hidden)
    for kind in (hidden, ~hidden):
        places = rng.permutation(np.flatnonzero(kind))
        result[places[: int(kept_count(np.array([len(places)]), share)[0])]] = True
    return result
