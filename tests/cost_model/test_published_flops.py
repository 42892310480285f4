"""Counts against papers: parameters of ViT sizes, GFLOPs of VATT with DropToken and of VideoMAE."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mmvideo.cost_model.flops import Products
from mmvideo.cost_model.published_flops import vatt_flops
from mmvideo.model.config import Fusion, Model
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec

TABLE_5 = {0: 784.8, 25: 574.2, 50: 375.4, 75: 188.1}
"""GFLOPs of VATT-MBS by the percentage of tokens dropped (Akbari et al. 2021, table 5)."""

TOWERS = {
    # modality: spec, tokens and size of VATT-MBS (sections 4.1 and A.2)
    "video": (PatchSpec((4, 16, 16, 3), (8, 14, 14), 0.4), 1568, {"depth": 12, "width": 1024, "heads": 16}),
    "audio": (PatchSpec((128, 1), (1200, 1, 1), 128 / 48000), 1200, {"depth": 12, "width": 768, "heads": 12}),
    "text": (TextSpec(2**16, 16, 4), 16, {"depth": 6, "width": 512, "heads": 8}),
}


@pytest.mark.parametrize(
    ("size", "patch", "millions"), [("S", 16, 22), ("B", 16, 86), ("L", 16, 304), ("H", 14, 632), ("g", 14, 1011)]
)
def test_parameters_of_the_named_sizes(backbone, size, patch, millions):
    """ViT (Dosovitskiy et al. 2021, table 1), DeiT-S and g (Zhai et al. 2022, table 2), on one frame of 224 pixels."""
    cells = 224 // patch
    spec = StreamSpec(video=PatchSpec((1, patch, patch, 3), (1, cells, cells), 1.0))
    params, _ = backbone(Model(size=size), spec)
    total = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
    assert total / 1e6 == pytest.approx(millions, rel=0.02)


@pytest.fixture(scope="module")
def vatt(backbone):
    """Count the products of the three towers of VATT-MBS with a share of their video and audio tokens."""
    counters = {}
    for name, (spec, _, numbers) in TOWERS.items():
        model = Model(
            **numbers, feed_forward=4 * numbers["width"], fusion=Fusion("late"), position="learned", attention="xla"
        )
        counters[name] = backbone(model, StreamSpec(**{name: spec}))[1]

    def count(share: float) -> list[Products]:
        tokens = {name: round(number * (1 if name == "text" else share)) for name, (_, number, _) in TOWERS.items()}
        return [counters[name]({name: number}) for name, number in tokens.items()]

    return count


@pytest.mark.parametrize(("dropped", "published"), TABLE_5.items())
def test_vatt_under_droptoken_as_its_table_counts(vatt, dropped, published):
    whole, kept = vatt(1.0), vatt(1 - dropped / 100)
    flops = sum(vatt_flops(one, other) for one, other in zip(whole, kept, strict=True))
    assert flops / 1e9 == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(("dropped", "honest"), [(0, 862.0), (25, 614.1), (50, 387.8), (75, 183.3)])
def test_vatt_at_two_flops_a_multiply_add(vatt, dropped, honest):
    """The formula: per layer and token 12 D^2 weights, and 2 L D for queries with keys and weights with values."""
    share = 1 - dropped / 100
    by_hand = 0
    for name, (spec, number, numbers) in TOWERS.items():
        tokens, width = number * (1 if name == "text" else share), numbers["width"]
        patch = 0 if name == "text" else spec.size
        by_hand += 2 * tokens * width * (patch + numbers["depth"] * (12 * width + 2 * tokens))
    counted = sum(products.total - products.of("positions") for products in vatt(share))
    assert counted == pytest.approx(by_hand, rel=1e-3)
    assert counted / 1e9 == pytest.approx(honest, rel=1e-3)


@pytest.mark.parametrize(("size", "multiply_adds"), [("S", 57), ("B", 180)])
def test_videomae_counts_multiply_adds(backbone, size, multiply_adds):
    """GFLOPs of a view of 16 frames as published for VideoMAE: one FLOP per multiply-add."""
    spec = StreamSpec(video=PatchSpec((2, 16, 16, 3), (8, 14, 14), 0.27))
    model = Model(size=size, fusion=Fusion("early"), position="sincos_1d", attention="xla")
    _, count = backbone(model, spec)
    assert count({"video": 1568}).total / 2e9 == pytest.approx(multiply_adds, rel=0.01)
