"""Contrastive learning, captioning, matching and latent prediction in one step of one forward pass."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Decoder, Fusion
from mmvideo.objectives import Captioning, Contrastive, LatentPrediction, Matching
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.rules import batch_sharding, shardings

MODEL = dataclasses.replace(TINY, depth=2, fusion=Fusion("mid", 1, text="causal"))
OBJECTIVES = {
    "contrastive": Contrastive(pairs=("video-text", "audio-text"), width=16),
    "captioning": Captioning(weight=2.0),
    "matching": Matching(weight=0.5),
    "latent": LatentPrediction(weight=0.25, predictor=Decoder(1, 24, 2, "clip"), decay=0.5),
}
KINDS = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text"), ("video", "audio")]


@functools.partial(jax.jit, static_argnums=0)
def differentiate(graph, params, variables, stream):
    """Total and metrics, the variables after the step, and the gradient."""

    def loss(params):
        learner = nnx.merge(graph, params, variables)
        total, metrics = learner.losses(stream)
        return total, (metrics, nnx.to_pure_dict(nnx.state(learner, nnx.Not(nnx.Param))))

    return jax.value_and_grad(loss, has_aux=True)(params)


@pytest.fixture(scope="module")
def parts():
    """The graph of a learner, its parameters and its other variables."""

    def make():
        return nnx.split(Learner(MODEL, SPEC, OBJECTIVES, rngs=nnx.Rngs(0)), nnx.Param, ...)

    return jax.eval_shape(make)[0], *jax.jit(lambda: make()[1:])()


def run(parts, stream):
    graph, params, variables = parts
    (total, (metrics, after)), gradient = differentiate(
        graph, nnx.to_pure_dict(params), nnx.to_pure_dict(variables), jax.tree.map(jnp.asarray, stream)
    )
    return total, metrics, after, gradient


def make_batch(rows=4):
    return make_stream([random_clip(seed, KINDS[seed % 5]) for seed in range(11)], rows=rows, slots=3)


@pytest.mark.slow(reason="compiles ten objectives")
def test_the_total_is_the_weighted_sum_and_all_learn(parts):
    total, metrics, _, gradient = run(parts, make_batch())
    expected = sum(objective.weight * metrics[f"{name}/loss"] for name, objective in OBJECTIVES.items())
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert all(value.shape == () and value.dtype == jnp.float32 and np.isfinite(value) for value in metrics.values())
    assert metrics["captioning/clips"] == metrics["matching/clips"] == metrics["contrastive/video-text/clips"] == 7
    idle = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(gradient) if not np.any(leaf)]
    assert idle == []
    # And where no clip has what any of them needs, nothing is learned.
    total, metrics, _, gradient = run(
        parts, make_stream([random_clip(0, ("text",), hide=False), None], rows=4, slots=3)
    )
    assert total == 0 and all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
    assert all(value == 0 for key, value in metrics.items() if not key.endswith(("temperature", "decay")))


@pytest.mark.slow(reason="compiles ten objectives")
def test_a_mesh_changes_nothing(parts):
    """Mismatches are drawn from the whole global batch, whatever lies where."""
    graph, params, variables = parts
    total, metrics, after, gradient = run(parts, make_batch())
    mesh = make_mesh(Mesh(2, 2, 2))
    there = [jax.device_put(state, shardings(state, mesh)) for state in (params, variables)]
    rows = batch_sharding(mesh)
    stream = jax.device_put(make_batch(), jax.tree.map(lambda _: rows, make_batch()))
    with jax.set_mesh(mesh):
        (spread_total, (spread_metrics, spread_after)), spread_gradient = differentiate(
            graph, *map(nnx.to_pure_dict, there), stream
        )
    np.testing.assert_allclose(spread_total, total, rtol=1e-5)
    for key, value in metrics.items():
        np.testing.assert_allclose(spread_metrics[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    for one, many in ((gradient, spread_gradient), (after["heads"]["latent"], spread_after["heads"]["latent"])):
        for (path, left), right in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(many), strict=True):
            np.testing.assert_allclose(right, left, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))
