"""Every mesh gives the losses and gradients of a single device, also for losses over the whole batch."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Block, Fusion, Sharing
from mmvideo.objectives import Classification, Contrastive, MaskedPatches, MaskedText, Moments, Regression
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
DOWNSTREAM = {
    "sounds": Classification("sounds", 6, form="sigmoid", smoothing=0.1, dropout=0.2, require="any", pooling="map"),
    "size": Regression("size", ("video",), dropout=0.2),
    "moments": Moments(),
}
"""Their clips lack some targets; what dropout sets to 0 is the same on any mesh."""


SPECIAL = dataclasses.replace(
    TINY,
    fusion=Fusion("bottleneck", 1, modalities=("video", "audio")),
    sharing=Sharing("nothing", "feed_forward"),
    block=Block(drop_path=0.3),
    class_tokens=1,
)
"""Layers of each modality's own, then a bottleneck of two; clips skip branches, on any mesh the same."""


KERNEL = ("masked_text", "logits", "kernel")
COUNTS = {"softmax/audio-text/clips": 5, "softmax/video-text/clips": 7}


@functools.partial(jax.jit, static_argnums=0)
def differentiate(graph, params, rest, stream):
    return jax.value_and_grad(lambda params: nnx.merge(graph, params, rest).losses(stream), has_aux=True)(params)


def batch():
    """Eleven clips in four rows, of which some lack modalities and some targets."""
    kinds = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text"), ("video", "audio")]
    stream = make_stream([random_clip(seed, kinds[seed % 5]) for seed in range(11)], rows=4, slots=3)
    draw = np.random.default_rng(0)
    sounds = draw.integers(0, 2, (4, 3, 6)).astype(np.float32)
    sounds[0, 0, 3], sounds[2, 1] = np.nan, np.nan
    size = draw.normal(size=(4, 3, 1)).astype(np.float32)
    size[1, 0] = np.nan
    moments = np.sort(draw.uniform(0, 0.75, (4, 3, 2, 2)), axis=-1).astype(np.float32)
    moments[:, 1] = np.nan
    saliency = draw.uniform(size=(4, 3, 3)).astype(np.float32)
    targets = {"sounds": sounds, "size": size}
    clips = dataclasses.replace(stream.clips, targets=targets, moments=moments, saliency=saliency)
    return dataclasses.replace(stream, clips=clips)


@pytest.mark.slow(reason="compiles steps for eight devices")
@pytest.mark.parametrize(
    ("shape", "model", "objectives", "split_kernel", "counts"),
    [
        (Mesh(2, 2, 2), TINY, OBJECTIVES, KERNEL, COUNTS),
        (Mesh(2, 1, 2, 2), TINY, OBJECTIVES, KERNEL, COUNTS),
        (Mesh(1, 2, 2, 2), SPECIAL, OBJECTIVES, KERNEL, COUNTS),
        (
            Mesh(1, 2, 2, 2), TINY, DOWNSTREAM, ("moments", "layers", "kernels", "0", "kernel"),
            {"sounds/clips": 10, "size/clips": 8, "moments/clips": 7},
        ),
    ],
    ids=["2x2x2", "2x1x2x2", "1x2x2x2 special", "1x2x2x2 downstream"],
)  # fmt: skip
def test_a_mesh_changes_nothing(shape, model, objectives, split_kernel, counts):
    stream = batch()
    graph, state, rest = nnx.split(Learner(model, SPEC, objectives, rngs=nnx.Rngs(0)), nnx.Param, ...)
    rest = nnx.to_pure_dict(rest)

    (loss, metrics), gradients = differentiate(graph, *jax.device_put((state, rest, stream), jax.devices()[0]))

    mesh = make_mesh(shape)
    places = shardings(state, mesh)
    split = jax.device_put(state, places)
    spread = jax.device_put(stream, jax.tree.map(lambda _: batch_sharding(mesh), stream))
    kernel = functools.reduce(lambda tree, name: tree[name], split_kernel, split["heads"]).get_value()
    assert kernel.addressable_shards[0].data.size < kernel.size
    with jax.set_mesh(mesh):
        (sharded_loss, sharded_metrics), sharded_gradients = differentiate(graph, split, rest, spread)

    assert {name: int(metrics[name]) for name in counts} == counts
    np.testing.assert_allclose(sharded_loss, loss, rtol=1e-5)
    for key, value in metrics.items():
        np.testing.assert_allclose(sharded_metrics[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
    pairs = zip(jax.tree.leaves_with_path(gradients), jax.tree.leaves(sharded_gradients), strict=True)
    for (path, one), many in pairs:
        np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-5, err_msg=jax.tree_util.keystr(path))
