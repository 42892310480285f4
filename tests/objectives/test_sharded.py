"""Every mesh gives the losses and gradients of a single device, also for losses over the whole batch."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Block, Fusion, Sharing
from mmvideo.objectives import Contrastive, MaskedPatches, MaskedText
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.rules import batch_sharding, shardings

OBJECTIVES = {
    "softmax": Contrastive(pairs=("video-text", "audio-text", "video-audio", "video+audio-text"), width=16, chunk=5),
    "sigmoid": Contrastive(pairs=("video-text", "video-audio"), form="sigmoid", width=16, chunk=4),
    "masked_patches": MaskedPatches(weight=0.5),
    "masked_text": MaskedText(weight=0.2),
}


SPECIAL = dataclasses.replace(
    TINY,
    fusion=Fusion("bottleneck", 1, modalities=("video", "audio")),
    sharing=Sharing("nothing", "feed_forward"),
    block=Block(drop_path=0.3),
    class_tokens=1,
)
"""Layers of each modality's own, then a bottleneck of two; clips skip branches, on any mesh the same."""


@functools.partial(jax.jit, static_argnums=0)
def differentiate(graph, params, rest, stream):
    return jax.value_and_grad(lambda params: nnx.merge(graph, params, rest).losses(stream), has_aux=True)(params)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "model"),
    [(Mesh(2, 2, 2), TINY), (Mesh(4, 1, 2), TINY), (Mesh(2, 2, 2), SPECIAL)],
    ids=["2x2x2", "4x1x2", "2x2x2 special"],
)
def test_a_mesh_changes_nothing(shape, model):
    kinds = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text"), ("video", "audio")]
    stream = make_stream([random_clip(seed, kinds[seed % 5]) for seed in range(11)], rows=4, slots=3)
    graph, state, rest = nnx.split(Learner(model, SPEC, OBJECTIVES, rngs=nnx.Rngs(0)), nnx.Param, ...)
    rest = nnx.to_pure_dict(rest)

    (loss, metrics), gradients = differentiate(graph, *jax.device_put((state, rest, stream), jax.devices()[0]))

    mesh = make_mesh(shape)
    places = shardings(state, mesh)
    split = jax.device_put(state, places)
    spread = jax.device_put(stream, jax.tree.map(lambda _: batch_sharding(mesh), stream))
    kernel = split["heads"]["masked_text"]["logits"]["kernel"].get_value()
    assert kernel.addressable_shards[0].data.size < kernel.size
    (sharded_loss, sharded_metrics), sharded_gradients = differentiate(graph, split, rest, spread)

    assert metrics["softmax/audio-text/clips"] == 5 and metrics["softmax/video-text/clips"] == 7
    np.testing.assert_allclose(sharded_loss, loss, rtol=1e-5)
    for key, value in metrics.items():
        np.testing.assert_allclose(sharded_metrics[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    pairs = zip(jax.tree.leaves_with_path(gradients), jax.tree.leaves(sharded_gradients), strict=True)
    for (path, one), many in pairs:
        np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))
