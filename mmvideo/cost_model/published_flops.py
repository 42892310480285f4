"""Published FLOPs beside ours: what a paper counts, where it is not two FLOPs for each multiply-add.

VATT (Akbari et al. 2021, table 5) gives the GFLOPs of its Medium-Base-Small model at four DropToken
rates. A quadratic in the share of tokens kept goes through the four; its linear term (679) is all
products with weights at two FLOPs a multiply-add, as here, while its quadratic term (93) is about half
of what the products of attention (queries with keys, weights with values) take so: they were
counted at about one FLOP a multiply-add. The constant term fits patches that are all embedded before
tokens are dropped. Counted in that way this model gives 1.1 to 1.4 % less than the table at all
rates; counted honestly it takes 862, 614, 388 and 183 GFLOPs where the table says 784.8, 574.2,
375.4 and 188.1, since here dropped tokens are never embedded.
"""

from __future__ import annotations

from mmvideo.cost_model.flops import Products

LOOKED_UP = ("positions",)
"""Parts that are rows of a table: a product with ones here, which nobody counts."""


def vatt_flops(whole: Products, kept: Products) -> float:
    """FLOPs as VATT's table 5 counts them.

    Args:
      whole: the products of a clip with every token.
      kept: those of the same clip after DropToken.
    """
    embedded = sum(flops for part, flops in whole.weights.items() if part.endswith("embedder"))
    others = sum(
        flops for part, flops in kept.weights.items() if not part.endswith("embedder") and part not in LOOKED_UP
    )
    return embedded + others + sum(kept.activations.values()) / 2
