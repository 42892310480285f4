"""Embedders: inflation from images, patches of spectrograms and waveforms, text."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.embed import Embedder, PatchEmbedder, TextEmbedder
from mmvideo.model.layers.inflate import inflate, inflate_video
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec, TokenLayout, TokenStream

WIDTH = 5


def image_kernel(seed=0, y=4, x=3):
    draw = np.random.default_rng(seed)
    return draw.normal(size=(y, x, 3, WIDTH)).astype(np.float32), draw.normal(size=WIDTH).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("how", ["central", "mean"])
def test_inflated_kernels_see_still_pictures_as_the_image_kernel_does(frames, how):
    kernel, bias = image_kernel()
    embedder = PatchEmbedder(PatchSpec((frames, 4, 3, 3), (2, 1, 1), 0.1), WIDTH, "float32", rngs=nnx.Rngs(0))
    embedder.start_from_image(jnp.asarray(kernel), jnp.asarray(bias), how)
    pictures = np.random.default_rng(1).integers(0, 256, (2, 4, 3, 3)).astype(np.uint8)
    still = np.repeat(pictures[:, None], frames, axis=1).reshape(1, 2, -1)
    want = np.einsum("nyxc,yxcd->nd", pictures / 127.5 - 1, kernel.astype(np.float64)) + bias
    np.testing.assert_allclose(embedder(jnp.asarray(still))[0], want, atol=1e-4)


def test_central_inflation_sees_the_central_frame_and_mean_inflation_their_mean():
    kernel, bias = image_kernel()
    pictures = np.random.default_rng(1).integers(0, 256, (4, 4, 3, 3)).astype(np.uint8)
    each = np.einsum("tyxc,yxcd->td", pictures / 127.5 - 1, kernel.astype(np.float64)) + bias
    for how, want in (("central", each[2]), ("mean", each.mean(axis=0))):
        embedder = PatchEmbedder(PatchSpec((4, 4, 3, 3), (1, 1, 1), 0.1), WIDTH, "float32", rngs=nnx.Rngs(0))
        embedder.start_from_image(jnp.asarray(kernel), jnp.asarray(bias), how)
        np.testing.assert_allclose(embedder(jnp.asarray(pictures.reshape(1, 1, -1)))[0, 0], want, atol=1e-4)


def test_inflation_by_the_formulas():
    kernel = jnp.asarray(image_kernel()[0])
    mean, central = np.asarray(inflate(kernel, 3, "mean")), np.asarray(inflate(kernel, 3, "central"))
    np.testing.assert_allclose(mean, np.stack([kernel / 3] * 3), rtol=1e-6)
    np.testing.assert_array_equal(central, np.stack([np.zeros_like(kernel), kernel, np.zeros_like(kernel)]))


def test_parameters_of_a_model_of_frames_fit_one_of_tubelets():
    kernel = image_kernel()[0].reshape(-1, WIDTH)
    old = {"trunk.embed.video.dense.kernel": kernel, "trunk.embed.audio.dense.kernel": kernel + 1}
    frames, tubelets = (StreamSpec(video=PatchSpec((t, 4, 3, 3), (1, 1, 1), 0.1)) for t in (1, 3))
    got = inflate_video(old, frames, tubelets, "mean")
    want = inflate(jnp.asarray(kernel).reshape(4, 3, 3, WIDTH), 3, "mean").reshape(-1, WIDTH)
    np.testing.assert_array_equal(got["trunk.embed.video.dense.kernel"], want)
    np.testing.assert_array_equal(got["trunk.embed.audio.dense.kernel"], kernel + 1)
    for other in (StreamSpec(video=PatchSpec((3, 4, 4, 3), (1, 1, 1), 0.1)), StreamSpec(audio=frames.video)):
        same = inflate_video(old, frames, other, "mean")
        np.testing.assert_array_equal(same["trunk.embed.video.dense.kernel"], kernel)


def test_impossible_inflations_are_refused():
    kernel, bias = (jnp.asarray(part) for part in image_kernel())
    with pytest.raises(ValueError, match="'first' is unknown: choose central or mean"):
        inflate(kernel, 2, "first")
    with pytest.raises(ValueError, match="0 frames"):
        inflate(kernel, 0)
    for patch in ((2, 4, 4, 3), (16, 36)):
        embedder = PatchEmbedder(PatchSpec(patch, (1, 1, 1), 0.1), WIDTH, "float32", rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match="does not fit patches"):
            embedder.start_from_image(kernel, bias)


def test_without_a_bias_the_own_one_stays():
    kernel, _ = image_kernel()
    embedder = PatchEmbedder(PatchSpec((2, 4, 3, 3), (1, 1, 1), 0.1), WIDTH, "float32", rngs=nnx.Rngs(0))
    embedder.dense.bias[...] = jnp.arange(5.0)
    embedder.start_from_image(jnp.asarray(kernel))
    np.testing.assert_array_equal(embedder.dense.bias[...], np.arange(5.0))


@pytest.mark.parametrize("patch", [(16,), (4, 4)], ids=["waveform", "spectrogram"])
def test_patches_of_sound_are_embedded_as_they_are(patch):
    spec = PatchSpec(patch, (3, 1, 1), 0.1)
    embedder = PatchEmbedder(spec, WIDTH, "float32", rngs=nnx.Rngs(0))
    sound = np.random.default_rng(0).normal(size=(1, 3, 16)).astype(np.float32)
    want = sound.astype(np.float64) @ np.asarray(embedder.dense.kernel[...], np.float64)
    np.testing.assert_allclose(embedder(jnp.asarray(sound)), want, atol=1e-5)


def test_text_takes_rows_of_its_table():
    embedder = TextEmbedder(TextSpec(20, 4, 3), WIDTH, "float32", rngs=nnx.Rngs(0))
    text_tokens = np.array([[3, 19, 3], [0, 1, 2]], np.int32)
    np.testing.assert_array_equal(embedder(jnp.asarray(text_tokens)), np.asarray(embedder.table[...])[text_tokens])


def test_a_waveform_is_woven_between_pictures_and_words():
    spec = StreamSpec(PatchSpec((1, 2, 2, 3), (2, 1, 1), 0.5), PatchSpec((16,), (4, 1, 1), 0.01), TextSpec(20, 4, 3))
    embedder = Embedder(spec, WIDTH, "float32", rngs=nnx.Rngs(0))
    draw = np.random.default_rng(0)
    content = {
        "video": draw.integers(0, 256, (1, 2, 12)).astype(np.uint8),
        "audio": draw.normal(size=(1, 4, 16)).astype(np.float32),
        "text": np.array([[5, 6, 7]], np.int32),
    }
    kinds = np.array([[0, 0, 1, 1, 1, 2, 2, -1]], np.int32)
    index = np.array([[0, 1, 2, 3, 4, 6, 7, 0]], np.int32)
    zero = np.zeros_like(index)
    layout = TokenLayout(
        index, kinds, np.where(kinds < 0, -1, 0), zero.astype(np.float32), np.zeros((1, 8, 3), np.int32)
    )
    stream = TokenStream(content, layout, {}, None, None)
    tokens = np.asarray(embedder(jax.tree.map(jnp.asarray, stream)))[0]
    modality = np.asarray(embedder.modality.table[...])
    sound = np.asarray(embedder.audio(jnp.asarray(content["audio"])))[0]
    np.testing.assert_allclose(tokens[2:5], sound[:3] + modality[1], atol=1e-5)
    np.testing.assert_allclose(tokens[5], np.asarray(embedder.text.table[...])[5] + modality[2], atol=1e-5)
    assert (tokens[7] == 0).all()


def test_the_convolution_stem_is_whispers_clip_by_clip(streams):
    """Two convolutions of three steps with GELU, the second of stride two, zeros beyond the ends of each clip."""
    bins, width = 8, 6
    spec = StreamSpec(video=streams.SPEC.video, audio=PatchSpec((2, bins), (20, 1, 1), 0.02))
    embedder = Embedder(spec, width, "float32", "convolution", rngs=nnx.Rngs(0))
    embedder.audio.first.bias[...] = jnp.linspace(-1, 1, width)
    embedder.modality.table[...] = jnp.zeros_like(embedder.modality.table[...])
    rng, lengths = np.random.default_rng(0), (5, 1, 3)
    sound = [rng.normal(size=(2 * length, bins)).astype(np.float32) for length in lengths]
    # The clips' tokens lie one behind the other; between them one of video, before them empty content.
    places = [(clip, step) for clip, length in enumerate(lengths) for step in range(length)]
    kinds = np.array([[0] + [1] * len(places) + [-1]], np.int32)
    clip = np.array([[0] + [clip for clip, _ in places] + [-1]], np.int32)
    grid = np.zeros((1, len(places) + 2, 3), np.int32)
    grid[0, 1:-1, 0] = [step for _, step in places]
    index = np.array([[0] + [1 + slot for slot in range(len(places))] + [0]], np.int32)
    content = np.concatenate([each.reshape(-1, 2 * bins) for each in sound] + [np.full((2, 2 * bins), 7.0, np.float32)])
    video = np.zeros((1, 1, spec.video.size), np.uint8)
    layout = TokenLayout(index, kinds, clip, np.zeros_like(index, np.float32), grid)
    stream = TokenStream({"video": video, "audio": content[None]}, layout, {}, None, None)
    got = np.asarray(jax.jit(embedder)(jax.tree.map(jnp.asarray, stream)))[0, 1:-1]

    def convolved(x, linear, stride):
        kernel, bias = np.asarray(linear.kernel[...], np.float64), np.asarray(linear.bias[...], np.float64)
        padded = np.pad(x, ((1, 1), (0, 0)))
        y = np.stack([padded[at : at + 3].reshape(-1) @ kernel + bias for at in range(0, len(x), stride)])
        return np.vectorize(lambda value: 0.5 * value * math.erfc(-value / math.sqrt(2)))(y)

    stem = embedder.audio
    want = [convolved(convolved(each.astype(np.float64), stem.first, 1), stem.second, 2) for each in sound]
    np.testing.assert_allclose(got, np.concatenate(want), atol=1e-5)
    for patch, grid in (((4, 8), (5, 1, 1)), ((2, 4), (10, 2, 1))):
        with pytest.raises(ValueError, match="patches of 2 rows with all mel bins"):
            Embedder(StreamSpec(audio=PatchSpec(patch, grid, 0.02)), 6, "float32", "convolution", rngs=nnx.Rngs(0))
