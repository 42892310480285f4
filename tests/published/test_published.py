"""Our models are the published ones: the same weights give the same numbers, and in the recipes' own settings."""

from __future__ import annotations

import pytest
from families import FAMILIES, difference

EXACT = 1e-5
"""Largest difference relative to the largest number: rounding in float32."""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_published_model_is_ours(family):
    """Golden files are what their own code gives for random weights.

    `tools/golden/` makes them: `published_models.py`, `released_models.py` and `scenic_models.py`.
    """
    pairs = FAMILIES[family]()
    assert pairs
    apart = {name: difference(*pair) for name, pair in pairs.items()}
    assert max(apart.values()) <= EXACT, apart
