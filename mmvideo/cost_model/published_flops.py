"""Published FLOPs next to ours: the count of a paper that does not use two FLOPs per multiply-add.

VATT (Akbari et al. 2021, table 5) gives the GFLOPs of its Medium-Base-Small model at four DropToken rates. A quadratic
function of the share of tokens kept fits all four. Its linear term (679) is all products with weights at two FLOPs per
multiply-add, as here. Its quadratic term (93) is about half of the products of attention (queries with keys, weights
with values) at that rate: they were counted at about one FLOP per multiply-add. The constant term fits patches that are
all embedded before tokens are dropped. Counted in that way, this model gives 1.1 to 1.4 % less than the table at all
rates. Counted at two FLOPs throughout, it takes 862, 614, 388 and 183 GFLOPs where the table says 784.8, 574.2, 375.4
and 188.1, because here dropped tokens are never embedded.
"""

from __future__ import annotations

from mmvideo.cost_model.flops import Products

LOOKED_UP = ("positions",)
"""Parts that are rows of a table: a product with one-hot indices here, which published counts leave out."""


def vatt_flops(whole: Products, kept: Products) -> float:
    """Return FLOPs as VATT's table 5 counts them.

    Args:
      whole: the products of a clip with every token.
      kept: those of the same clip after DropToken.
    """
    embedded = sum(flops for part, flops in whole.weights.items() if part.endswith("embedder"))
    others = sum(
        flops for part, flops in kept.weights.items() if not part.endswith("embedder") and part not in LOOKED_UP
    )
    # Products of attention at one FLOP per multiply-add, as in the table, instead of two.
    return embedded + others + sum(kept.activations.values()) / 2
