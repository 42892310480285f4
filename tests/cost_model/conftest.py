"""Abstract learners and streams whose products are counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from flax import nnx

from mmvideo.cost_model.flops import Products, count_products
from mmvideo.cost_model.parameter_counts import PARTS, part_of
from mmvideo.experiment.planning.abstract_batch import abstract_stream
from mmvideo.input.collate import BatchShape
from mmvideo.input.planning.token_counts import TOKEN_BUDGETS
from mmvideo.model.config import Model
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import StreamSpec, TokenStream

Trunk = Callable[[Model, StreamSpec], tuple[dict, Callable[[Mapping[str, int]], Products]]]


def row(spec: StreamSpec, tokens: Mapping[str, int]) -> TokenStream:
    """Return an abstract row of one clip with a number of tokens of each modality."""
    budget = {**dict.fromkeys(TOKEN_BUDGETS, 0), **tokens, "tokens": sum(tokens.values()), "clips": 1}
    return abstract_stream(BatchShape(spec, np.array([budget[name] for name in TOKEN_BUDGETS]), (), ()), 1)


def make_trunk(model: Model, spec: StreamSpec) -> tuple[dict, Callable[[Mapping[str, int]], Products]]:
    """Return the abstract parameters of a backbone, and a function that counts its products for a number of tokens."""
    built = nnx.eval_shape(lambda: MultimodalTransformer(model, spec, rngs=nnx.Rngs(0)))
    graphdef, params, rest = nnx.split(built, nnx.Param, ...)
    params, rest = nnx.to_pure_dict(params), nnx.to_pure_dict(rest)

    def count(tokens: Mapping[str, int]) -> Products:
        def run(variables, stream):
            return nnx.merge(graphdef, variables["trunk"], rest)(stream)

        return count_products(run, {"trunk": params}, row(spec, tokens), part=part_of, order=PARTS)

    return params, count


@pytest.fixture(scope="session")
def backbone() -> Trunk:
    """`make_trunk`, for modules that cannot import it."""
    return make_trunk
