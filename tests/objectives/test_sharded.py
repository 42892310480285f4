"""Every mesh gives the losses and gradients of a single device, also for losses over the whole batch."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

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


@functools.partial(jax.jit, static_argnums=0)
def differentiate(graph, state, stream):
    return jax.value_and_grad(lambda state: nnx.merge(graph, state).losses(stream), has_aux=True)(state)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [Mesh(2, 2, 2), Mesh(4, 1, 2)], ids=["2x2x2", "4x1x2"])
def test_a_mesh_changes_nothing(shape):
    kinds = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text"), ("video", "audio")]
    stream = make_stream([random_clip(seed, kinds[seed % 5]) for seed in range(11)], rows=4, slots=3)
    graph, state = nnx.split(Learner(TINY, SPEC, OBJECTIVES, rngs=nnx.Rngs(0)))

    (loss, metrics), gradients = differentiate(graph, *jax.device_put((state, stream), jax.devices()[0]))

    mesh = make_mesh(shape)
    places = shardings(state, mesh)
    split = jax.device_put(state, places)
    spread = jax.device_put(stream, jax.tree.map(lambda _: batch_sharding(mesh), stream))
    kernel = split["heads"]["masked_text"]["logits"]["kernel"].get_value()
    assert kernel.addressable_shards[0].data.size < kernel.size
    (sharded_loss, sharded_metrics), sharded_gradients = differentiate(graph, split, spread)

    assert metrics["softmax/audio-text/clips"] == 5 and metrics["softmax/video-text/clips"] == 7
    np.testing.assert_allclose(sharded_loss, loss, rtol=1e-5)
    for key, value in metrics.items():
        np.testing.assert_allclose(sharded_metrics[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    pairs = zip(jax.tree.leaves_with_path(gradients), jax.tree.leaves(sharded_gradients), strict=True)
    for (path, one), many in pairs:
        np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))
