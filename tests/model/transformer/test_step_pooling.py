"""Time steps of video: their pooling against a slow loop, and layers that keep to a clip's own steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.transformer.step_pooling import StepLayers, pool_frames
from mmvideo.stream import Modality, PatchSpec, TokenLayout

CLIPS, STEPS = 3, 4
VIDEO = PatchSpec((1, 2, 2, 3), (STEPS, 2, 2), 0.4)


@pytest.fixture(scope="module")
def row():
    """A row of three clips: video tokens in all steps but step 2 of the first clip, audio, text, and padding."""
    draw = np.random.default_rng(0)
    cells = [(0, 0, step) for step in (0, 0, 1, 3, 3, 3)] + [(0, 1, 0), (0, 1, 1)]
    cells += [(1, 2, 0), (1, 2, 0)] + [(2, 0, step) for step in (0, 1, 2, 2)]
    clip, modality, step = np.array(cells + [(-1, -1, 0)] * 2).T
    grid = np.stack([step, draw.integers(0, 2, len(step)), draw.integers(0, 2, len(step))], axis=-1)
    time = np.where(modality == Modality.VIDEO, (step + 0.5) * 33.3, step * 7.0).astype(np.float32)
    layout = TokenLayout(*(np.asarray(a)[None] for a in (0 * clip, modality, clip, time, grid)))
    tokens = draw.normal(size=(1, len(clip), 5)).astype(np.float32)
    tokens[0, -2:] = np.nan
    return jax.tree.map(jnp.asarray, (tokens, layout))


def test_pooling_equals_a_loop(row):
    tokens, layout = row
    found = jax.jit(pool_frames, static_argnums=(2, 3))(tokens, layout, CLIPS, VIDEO)
    for clip in range(CLIPS):
        for step in range(STEPS):
            own = np.flatnonzero((layout.clip[0] == clip) & (layout.modality[0] == 0) & (layout.grid[0, :, 0] == step))
            assert found.present[0, clip, step] == bool(len(own))
            wanted = np.asarray(tokens)[0, own].mean(axis=0) if len(own) else np.zeros(5)
            np.testing.assert_allclose(found.vector[0, clip, step], wanted, rtol=1e-6)
            assert found.time[0, clip, step] == (layout.time[0, own[0]] if len(own) else 0)
    assert found.present.sum() == 6
    # The second clip has no video and nothing to tell its seconds from; what is said of it means nothing.
    np.testing.assert_allclose(found.seconds[0, jnp.array([0, 2])], 33.3, rtol=1e-5)
    np.testing.assert_allclose(found.length[0, jnp.array([0, 2])], [4 * 33.3, 3 * 33.3], rtol=1e-5)


def test_a_single_step_lasts_as_long_as_the_spec_says(row):
    tokens, layout = row
    only = dataclasses.replace(layout, modality=jnp.where(layout.grid[..., 0] == 0, layout.modality, -1))
    found = pool_frames(tokens, only, CLIPS, VIDEO)
    np.testing.assert_allclose(found.seconds, 0.4)
    np.testing.assert_allclose(found.length[0, 0], 33.3 / 2 + 0.2, rtol=1e-6)


def test_layers_see_neighbours_of_the_clip_only():
    draw = np.random.default_rng(1)
    x = jnp.asarray(draw.normal(size=(2, CLIPS, STEPS, 8)), jnp.float32)
    present = jnp.ones((2, CLIPS, STEPS), bool).at[0, 0, 2:].set(False)
    layers = StepLayers(8, 1, rngs=nnx.Rngs(0))
    run = jax.jit(lambda x: layers(x, present))

    def moved(row, clip, step):
        return np.argwhere(np.abs(run(x) - run(x.at[row, clip, step, 0].add(1.0))).max(axis=-1) > 1e-6).tolist()

    assert moved(1, 1, 0) == [[1, 1, 0], [1, 1, 1]]
    assert moved(1, 1, 2) == [[1, 1, 1], [1, 1, 2], [1, 1, 3]]
    # A step that the clip doesn't have is seen by none.
    assert moved(0, 0, 2) == [[0, 0, 2]]
    assert moved(0, 0, 1) == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]


def test_the_convolution_is_numpy():
    x = np.random.default_rng(2).normal(size=(1, 1, STEPS, 8)).astype(np.float32)
    layers = StepLayers(8, 1, rngs=nnx.Rngs(0))
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    kernel = np.asarray(layers.kernels["0"].kernel[...]).reshape(3, 8, 8)
    mixed = sum(np.pad(y[0, 0], ((1, 1), (0, 0)))[shift : shift + STEPS] @ kernel[shift] for shift in range(3))
    expected = x[0, 0] + np.asarray(jax.nn.gelu(mixed, approximate=False))
    np.testing.assert_allclose(
        layers(jnp.asarray(x), jnp.ones((1, 1, STEPS), bool))[0, 0], expected, rtol=1e-4, atol=1e-5
    )


def test_no_layer_changes_nothing():
    x = jnp.ones((1, 1, STEPS, 8))
    assert StepLayers(8, 0, rngs=nnx.Rngs(0))(x, jnp.ones(x.shape[:-1], bool)) is x
