"""The baselines: their parts against slow numpy, and the invariants that hold for the transformer too."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.baselines.canvas import frames, spectrograms, strips, texts
from mmvideo.model.baselines.config import CnnLstm, FrameLstm
from mmvideo.model.baselines.convolution import Convolution
from mmvideo.model.baselines.lstm import Lstm
from mmvideo.model.factory import build_model, feature_width
from mmvideo.stream import MODALITIES, PADDING, StreamSpec

SIZES = dict(channels=(4, 6), width=10, word=8, dense=(12, 7), compute="float32")
KINDS = {"cnn_lstm": CnnLstm(**SIZES), "frame_lstm": FrameLstm(**SIZES)}
both = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def trunks(streams):
    return {kind: build_model(config, streams.SPEC, rngs=nnx.Rngs(0)) for kind, config in KINDS.items()}


@nnx.jit
def run(backbone, stream):
    backbone.eval()
    return backbone(stream)


def of_clip(features, row, slot):
    """Return the tokens of a clip that are present, in each tap, by modality."""
    layout = jax.tree.map(np.asarray, features.layout)
    here = layout.clip[row] == slot
    return {
        name: [np.asarray(tap)[row][here & (layout.modality[row] == number)][0] for tap in features.taps]
        for number, name in enumerate(MODALITIES)
        if (here & (layout.modality[row] == number)).any()
    }


def numpy_frames(stream, spec, row, slot):
    """Return the frames of a clip, built patch by patch."""
    t, y, x, _ = spec.patch
    steps, rows, columns = spec.grid
    pictures, present = np.zeros((steps * t, rows * y, columns * x, 3)), np.zeros(steps * t, bool)
    for place in np.flatnonzero((stream.layout.clip[row] == slot) & (stream.layout.modality[row] == 0)):
        step, up, along = stream.layout.grid[row, place]
        patch = (
            stream.content["video"][row, stream.layout.source_index[row, place]].astype(np.float64).reshape(spec.patch)
        )
        here = slice(step * t, step * t + t), slice(up * y, up * y + y), slice(along * x, along * x + x)
        pictures[here] = patch / 127.5 - 1
        present[here[0]] = True
    return pictures, present


def numpy_spectrogram(stream, spec, row, slot):
    """Return the spectrogram of a clip, built patch by patch; audio follows video in the content."""
    t, mel = spec.patch
    picture, present = np.zeros((spec.grid[0] * t, spec.grid[1] * mel)), np.zeros(spec.grid[0], bool)
    for place in np.flatnonzero((stream.layout.clip[row] == slot) & (stream.layout.modality[row] == 1)):
        step, band, _ = stream.layout.grid[row, place]
        index = stream.layout.source_index[row, place] - stream.content["video"].shape[1]
        patch = stream.content["audio"][row, index].reshape(t, mel)
        picture[step * t : step * t + t, band * mel : band * mel + mel] = patch
        present[step] = True
    return picture, present


def test_tokens_are_put_back_where_they_were(streams):
    spec = streams.SPEC
    clips = [
        streams.make_clip(1, video=8, hide_video=3),
        streams.make_clip(2, video=0, audio=7, text=6),
        streams.make_clip(3, audio=0, text=0),
    ]
    stream = streams.make_stream([clips[:2], clips[2:]], garbage=5)
    on_device = jax.tree.map(jnp.asarray, stream)
    pictures, seen = frames(on_device, spec.video)
    heard, steps = strips(on_device, spec.audio)
    whole, sounding = spectrograms(on_device, spec.audio)
    text_tokens, said = texts(on_device, spec.text)
    for slot, (row, place) in enumerate([(0, 0), (0, 1), (1, 0), (1, 3)]):
        want, present = numpy_frames(stream, spec.video, row, place)
        np.testing.assert_allclose(pictures[row, place], want, atol=1e-6)
        np.testing.assert_array_equal(seen[row, place], present)
        want, present = numpy_spectrogram(stream, spec.audio, row, place)
        np.testing.assert_array_equal(np.asarray(heard[row, place]).reshape(want.shape), want)
        np.testing.assert_array_equal(whole[row, place, 0, :, :, 0], want)
        np.testing.assert_array_equal(steps[row, place], present)
        assert sounding[row, place, 0] == present.any()
        text = clips[slot]["text"][0] if slot < 3 else []
        np.testing.assert_array_equal(text_tokens[row, place, 0], np.pad(text, (0, 8 - len(text))))
        np.testing.assert_array_equal(said[row, place, 0], np.arange(8) < len(text))


def test_several_captions_are_read_one_by_one(streams):
    """Two captions are a token each, equal to those of the clip with either caption alone."""
    spec = dataclasses.replace(streams.SPEC, text=dataclasses.replace(streams.SPEC.text, captions=3))
    backbone = build_model(KINDS["cnn_lstm"], spec, rngs=nnx.Rngs(0))
    both, first, second = clips = [streams.make_clip(1, audio=0, text=6) for _ in range(3)]
    text_tokens, time, grid, _ = both["text"]
    grid[4:] = [(0, 1, 0), (0, 1, 1)]
    first["text"] = text_tokens[:4], time[:4], grid[:4], 0
    second["text"] = text_tokens[4:], time[4:], grid[4:], 0
    features = run(backbone, streams.make_stream([clips]))
    text = np.asarray(features.layout.modality)[0] == 2
    here = [np.flatnonzero(text & (features.layout.clip[0] == slot)) for slot in range(3)]
    assert [len(places) for places in here] == [2, 1, 1]
    assert features.layout.grid[0, here[0]].tolist() == [[0, 0, 0], [0, 1, 0]]
    alone = np.asarray(features.taps[0])[0]
    np.testing.assert_allclose(alone[here[0]], alone[[*here[1], *here[2]]], atol=1e-6)
    tops = np.asarray(features.top)[0]
    np.testing.assert_array_equal(*tops[here[0]])
    assert np.abs(tops[here[0][0]] - tops[here[1][0]]).max() > 1e-4


def test_convolution_is_exact():
    layer = Convolution(3, 4, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.array([0.1, -0.2, 0.0, 0.3])
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    kernel, bias = np.asarray(layer.conv_kernel[...], np.float64), np.asarray(layer.bias[...], np.float64)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    inner = np.zeros((2, 5, 6, 4))
    for row in range(5):
        for column in range(6):
            window = padded[:, row : row + 3, column : column + 3]
            inner[:, row, column] = np.maximum(np.einsum("nyxi,yxio->no", window, kernel) + bias, 0)
    want = np.stack(
        [np.stack([inner[:, r : r + 2, c : c + 2].max((1, 2)) for c in (0, 2, 4)], 1) for r in (0, 2, 4)], 1
    )
    np.testing.assert_allclose(layer(jnp.asarray(x, jnp.float32)), want, atol=1e-5)


def test_lstm_is_exact_and_passes_over_holes():
    lstm = Lstm(3, 5, rngs=nnx.Rngs(0))
    draw = np.random.default_rng(0)
    lstm.bias[...] = jnp.asarray(draw.normal(size=20), jnp.float32)
    x, present = draw.normal(size=(2, 7, 3)), draw.random((2, 7)) < 0.6
    present[1] = False
    w, u, b = (np.asarray(part[...], np.float64) for part in (lstm.input_kernel, lstm.recurrent_kernel, lstm.bias))
    h, c = np.zeros(5), np.zeros(5)
    for step in x[0][present[0]]:
        i, f, g, o = np.split(step @ w + h @ u + b, 4)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    got = np.asarray(lstm(jnp.asarray(x, jnp.float32), jnp.asarray(present)))
    assert 0 < present[0].sum() < 7
    np.testing.assert_allclose(got[0], h, atol=1e-5)
    assert (got[1] == 0).all()


def test_lstm_starts_with_open_forget_gates_and_orthogonal_recurrence():
    lstm = Lstm(3, 5, rngs=nnx.Rngs(0))
    assert lstm.bias[...].tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10
    for part in np.split(np.asarray(lstm.recurrent_kernel[...]), 4, axis=1):
        np.testing.assert_allclose(part @ part.T, np.eye(5), atol=1e-5)


@both
def test_one_token_a_clip_and_modality(streams, trunks, kind):
    stream = streams.make_stream([[streams.make_clip(1), streams.make_clip(2, audio=0)], [streams.make_clip(3)]])
    features = run(trunks[kind], stream)
    assert [tap.shape for tap in features.taps] == [(2, 12, 7)] * 2
    assert feature_width(KINDS[kind]) == 7
    first = np.asarray(features.layout.modality)[0]
    assert first.tolist() == [0, 1, 2, 0, PADDING, 2] + [PADDING] * 6
    np.testing.assert_array_equal(features.layout.clip[0], [0, 0, 0, 1, PADDING, 1] + [PADDING] * 6)
    clip = of_clip(features, 0, 0)
    assert set(clip) == set(MODALITIES)
    np.testing.assert_array_equal(clip["video"][1], clip["text"][1])
    assert np.abs(clip["video"][0] - clip["text"][0]).max() > 1e-3
    assert features.tokens(("video",)) is features.taps[0]
    assert features.tokens(MODALITIES) is features.top
    assert (np.asarray(features.place) == PADDING).all() and features.place.shape == (2, 40)
    assert [tap.shape for tap in features.classes] == [(2, 4, 3, 0, 7)] * 2


@both
def test_packed_equals_separate(streams, trunks, kind):
    clips = [streams.make_clip(1), streams.make_clip(2, audio=0, hide_video=2), streams.make_clip(3, video=0, text=8)]
    packed = run(trunks[kind], streams.make_stream([clips], garbage=3))
    alone = run(trunks[kind], streams.make_stream([[clip] for clip in clips]))
    for slot in range(3):
        together, separate = of_clip(packed, 0, slot), of_clip(alone, slot, 0)
        assert set(together) == set(separate)
        for name in together:
            np.testing.assert_allclose(together[name], separate[name], atol=1e-5)


@both
@pytest.mark.parametrize("gone", MODALITIES)
def test_an_absent_modality_changes_nothing_else(streams, trunks, kind, gone):
    whole, other = streams.make_clip(1), streams.make_clip(2)
    lacking = streams.make_clip(1, **{gone: 0})
    one = run(trunks[kind], streams.make_stream([[whole, other]]))
    two = run(trunks[kind], streams.make_stream([[lacking, other]]))
    for name, (alone, together) in of_clip(one, 0, 1).items():
        np.testing.assert_array_equal(alone, of_clip(two, 0, 1)[name][0])
        np.testing.assert_array_equal(together, of_clip(two, 0, 1)[name][1])
    before, after = of_clip(one, 0, 0), of_clip(two, 0, 0)
    assert set(before) - set(after) == {gone}
    for name, (alone, together) in after.items():
        np.testing.assert_array_equal(alone, before[name][0])
        assert np.abs(together - before[name][1]).max() > 1e-4


@both
def test_a_stream_without_a_modality_is_one_of_clips_without_it(streams, trunks, kind):
    stream = streams.make_stream([[streams.make_clip(1, audio=0)]])
    layout = stream.layout
    index = np.where(layout.modality == 2, layout.source_index - stream.content["audio"].shape[1], layout.source_index)
    content = {name: stream.content[name] for name in ("video", "text")}
    less = dataclasses.replace(stream, content=content, layout=dataclasses.replace(layout, source_index=index))
    with_room, without = (of_clip(run(trunks[kind], one), 0, 0) for one in (stream, less))
    assert set(without) == {"video", "text"}
    for name in without:
        np.testing.assert_allclose(without[name], with_room[name], atol=1e-6)


@both
def test_every_parameter_is_used(streams, trunks, kind):
    whole = streams.make_clip(1, video=24, audio=12, text=8)
    rows = [[whole, streams.make_clip(2, video=0), streams.make_clip(3, audio=0)], [streams.make_clip(4, text=0)]]
    stream = streams.make_stream(rows, length=70)
    weight = np.random.default_rng(0).normal(size=(2, 2, 12, 7))

    @nnx.jit
    def gradient(backbone):
        backbone.eval()

        def loss(backbone):
            features = backbone(stream)
            real = features.layout.is_token[..., None]
            return sum(jnp.where(real, tap * w, 0).sum() for tap, w in zip(features.taps, weight, strict=True))

        return nnx.grad(loss)(backbone)

    for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient(trunks[kind]))):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


def test_only_the_lstm_over_frames_knows_their_order(streams, trunks):
    forward, backward = (streams.make_clip(1, video=24, audio=0, text=0) for _ in range(2))
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 12, 3)).astype(np.uint8)
    for clip, pictures in ((forward, pixels), (backward, pixels[::-1])):
        patches = pictures.reshape(4, 2, 2, 4, 3, 4, 3).transpose(0, 2, 4, 1, 3, 5, 6).reshape(24, 96)
        clip["video"] = (patches, *clip["video"][1:])
    stream = streams.make_stream([[forward, backward]], length=60, budget=48)
    for kind, differs in (("cnn_lstm", False), ("frame_lstm", True)):
        features = run(trunks[kind], stream)
        first, second = (of_clip(features, 0, slot)["video"][0] for slot in (0, 1))
        assert (np.abs(first - second).max() > 1e-3) == differs


@both
def test_dropout_is_alive_in_training_only_and_on_the_top_only(streams, trunks, kind):
    stream = streams.make_stream([[streams.make_clip(1)]])

    @nnx.jit
    def twice(backbone):
        backbone.train()
        return backbone(stream).taps, backbone(stream).taps

    once, again = twice(trunks[kind])
    calm = run(trunks[kind], stream)
    np.testing.assert_allclose(once[0], calm.taps[0], atol=1e-6)
    top, other = np.asarray(once[1])[0, 0], np.asarray(again[1])[0, 0]
    still = np.asarray(calm.top)[0, 0]
    assert (top != other).any()
    np.testing.assert_allclose(top[top != 0], 2 * still[top != 0], atol=1e-5)
    np.testing.assert_array_equal(run(trunks[kind], stream).top, calm.top)


@both
def test_bfloat16_is_close_to_float32(streams, trunks, kind):
    stream = streams.make_stream([[streams.make_clip(1), streams.make_clip(2)]])
    coarse = build_model(dataclasses.replace(KINDS[kind], compute="bfloat16"), streams.SPEC, rngs=nnx.Rngs(0))
    params = nnx.state(coarse, nnx.Param)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))
    top = run(coarse, stream).top
    assert top.dtype == jnp.bfloat16
    want = np.asarray(run(trunks[kind], stream).top)[:, :6]
    error = np.asarray(top, np.float32)[:, :6] - want
    assert np.sqrt(np.square(error).mean() / np.square(want).mean()) < 0.02


def test_runs_that_they_cannot_serve_are_refused(streams, trunks):
    for config in KINDS.values():
        wave = dataclasses.replace(streams.SPEC, audio=dataclasses.replace(streams.SPEC.audio, patch=(32,)))
        with pytest.raises(ValueError, match="raw waveform.*kind transformer"):
            build_model(config, wave, rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match="no modality"):
            build_model(config, StreamSpec(), rngs=nnx.Rngs(0))
        silent = build_model(config, dataclasses.replace(streams.SPEC, audio=None), rngs=nnx.Rngs(0))
        with pytest.raises(ValueError, match="built for \\['video', 'text'\\]"):
            jax.eval_shape(silent, streams.make_stream([[streams.make_clip(1)]]))


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"channels": ()}, "channels"),
        ({"dense": (8, 0)}, "dense"),
        ({"width": 0}, "width 0"),
        ({"dropout": 1.0}, "dropout 1.0"),
    ],
)
def test_wrong_numbers_are_refused(wrong, words):
    for config in KINDS.values():
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(config, **wrong)
