"""DropToken: omits a share of the tokens of a modality in training (VATT, arXiv 2104.11178).

Dropped tokens are neither encoded nor predicted. Hidden and visible tokens lose the same share. Both counts follow
exactly from the token counts, so rows are planned before anything is drawn.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.transforms.masking import share_of


def kept_count(tokens: Int[np.ndarray, "*n"], share: float) -> Int[np.ndarray, "*n"]:
    """Return the number of tokens that stay when this share of them is dropped; at least one."""
    return tokens - share_of(share, tokens)


def drop_token_mask(hidden: Bool[np.ndarray, " N"], share: float, rng: np.random.Generator) -> Bool[np.ndarray, " N"]:
    """Return a mask of the tokens that stay, drawn separately among hidden and visible ones."""
    if share == 0:
        return np.ones_like(hidden)
    result = np.zeros_like(hidden)
    # 10 hidden and 6 visible tokens with a share of 0.5 keep 5 and 3.
    for kind in (hidden, ~hidden):
        places = rng.permutation(np.flatnonzero(kind))
        result[places[: int(kept_count(np.array([len(places)]), share)[0])]] = True
    return result
