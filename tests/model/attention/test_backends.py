"""The kernel backends of a platform: by their stand-ins here, by their kernels on the platform."""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_attention import exact, inputs, whole_rows
from jax.sharding import AxisType

from mmvideo.model.attention.cudnn import cudnn_attention
from mmvideo.model.attention.dispatch import BACKENDS, Call, attend, unsupported_reason
from mmvideo.model.attention.splash import splash_attention
from mmvideo.model.attention.tokamax import tokamax_attention
from mmvideo.model.sharding import on_own_queries

needs_tokamax = pytest.mark.skipif(importlib.util.find_spec("tokamax") is None, reason="tokamax is not installed")


def check(attention, arrays, spans, soft_cap=None, dtype=jnp.float32, atol=2e-5):
    """Compare values and gradients of `attention(q, k, v, spans)` with float64."""

    @jax.jit
    def run(q, k, v, gradient, spans):
        values, back = jax.vjp(lambda *qkv: attention(*qkv, spans), q, k, v)
        return values, *back(gradient)

    given = [jnp.asarray(x, dtype) for x in arrays]
    wanted = exact(*(np.asarray(x, np.float64) for x in given), spans, soft_cap)
    for got, want in zip(run(*given, jnp.asarray(spans)), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=atol, rtol=1e-5 if atol < 1e-3 else 0.02)


def in_parts(attention, *edges):
    """Compare the same with some of the queries at a time, as on devices that share a row."""

    def run(q, k, v, spans):
        parts = zip(jnp.split(q, edges, axis=1), jnp.split(spans, edges, axis=1), strict=True)
        return jnp.concatenate([attention(part, k, v, own) for part, own in parts], axis=1)

    return run


@pytest.mark.parametrize("length", [36, 37])
def test_cudnn_with_a_bias_is_exact(length):
    arrays, spans = inputs(length)
    check(in_parts(partial(cudnn_attention, whole=False, implementation="xla"), 12, 25), arrays, spans)


def test_cudnn_with_whole_rows_is_exact():
    arrays, _ = inputs()
    check(partial(cudnn_attention, whole=True, implementation="xla"), arrays, whole_rows((1, 29), 37))


def test_cudnn_lets_nothing_of_the_padding_through():
    (q, k, v, gradient), _ = inputs(dtype=np.float32)
    spans = whole_rows((20, 29), 37)
    padding = np.arange(37) >= np.array([[20], [29]])
    q[padding] = k[padding] = np.inf
    attention = partial(cudnn_attention, whole=True, implementation="xla")

    @jax.jit
    def run(q, k, v, gradient):
        values, back = jax.vjp(lambda *qkv: attention(*qkv, jnp.asarray(spans)), q, k, v)
        return values, *back(gradient)

    assert all(np.isfinite(x).all() for x in run(q, k, v, gradient))


@needs_tokamax
@pytest.mark.parametrize("soft_cap", [None, 3.0])
def test_tokamax_is_exact(soft_cap):
    arrays, spans = inputs()
    check(in_parts(partial(tokamax_attention, soft_cap=soft_cap), 12, 25), arrays, spans, soft_cap)


def test_a_missing_tokamax_is_named_with_its_install(monkeypatch):
    monkeypatch.setattr("mmvideo.model.attention.tokamax.importlib.util.find_spec", lambda name: None)
    x = jnp.zeros((1, 4, 1, 8))
    with pytest.raises(ValueError, match=r'pip install "mmvideo\[tokamax\]"'):
        attend(x, x, x, jnp.zeros((1, 4, 2), jnp.int32), backend="tokamax")


@pytest.mark.parametrize(("soft_cap", "edges"), [(None, (130,)), (3.0, ())])
def test_splash_is_exact(soft_cap, edges):
    # Three blocks, the last one only begun: a span may lie in one, or reach over all.
    arrays, spans = inputs(261, heads=2, longest=250)
    check(in_parts(partial(splash_attention, soft_cap=soft_cap, interpret=True), *edges), arrays, spans, soft_cap)


def test_splash_packs_the_longest_spans():
    from mmvideo.model.attention.splash import LONGEST, _within

    packed = jnp.asarray(((LONGEST - 1) << 16) | LONGEST, jnp.uint32).astype(jnp.int32)
    keys = jnp.asarray([0, LONGEST - 2, LONGEST - 1, LONGEST])
    assert _within(packed, keys).tolist() == [False, False, True, False]


def test_splash_lowers_for_a_tpu():
    shape = jax.ShapeDtypeStruct((2, 640, 2, 64), jnp.bfloat16)
    spans = jax.ShapeDtypeStruct((2, 640, 2), jnp.int32)
    run = jax.grad(lambda q, k, v, s: splash_attention(q, k, v, s, soft_cap=50.0).astype(jnp.float32).sum(), (0, 1, 2))
    program = jax.jit(run).trace(shape, shape, shape, spans).lower(lowering_platforms=("tpu",)).as_text()
    assert program.count("tpu_custom_call") >= 3  # forwards, and backwards to the queries and to the keys


def test_a_kernel_runs_on_its_own_rows_and_heads_and_queries():
    arrays, spans = inputs(16, heads=2)
    q, k, v, _ = (jnp.asarray(x, jnp.float32) for x in arrays)
    spans, shapes = jnp.asarray(spans), []

    def attention(q, k, v, spans):
        shapes.append((q.shape, k.shape, v.shape, spans.shape))
        return BACKENDS["xla"](q, k, v, spans, Call("cpu", 16, 8))

    with jax.set_mesh(mesh_of(data=2, context=2, tensor=2)):
        got = jax.jit(partial(on_own_queries, attention))(q, k, v, spans)
    assert shapes == [((1, 8, 1, 8), (1, 16, 1, 8), (1, 16, 1, 8), (1, 8, 2))]
    np.testing.assert_allclose(got, attend(q, k, v, spans, backend="xla"), atol=1e-6)


@pytest.mark.parametrize("backend", ["xla", "chunked"])
def test_queries_split_over_a_mesh_are_exact(backend):
    arrays, spans = inputs(48)
    with jax.set_mesh(mesh_of(data=2, context=4)):
        check(partial(attend, backend=backend, chunk=20, soft_cap=3.0), arrays, spans, 3.0)


def test_a_part_of_the_queries_is_promised_no_whole_row(monkeypatch):
    (q, *_), spans = inputs(16, dtype=np.float32)
    promised = []

    def attention(q, k, v, spans, call):
        promised.append(call.whole)
        return v[:, : q.shape[1]]

    monkeypatch.setitem(BACKENDS, "xla", attention)
    for axes in (dict(data=2), dict(data=2, context=4), dict(data=1, context=3)):
        with jax.set_mesh(mesh_of(**axes)):
            jax.jit(partial(attend, backend="xla", whole=True))(q, q, q, spans)
    # 3 does not divide 16 tokens, so that the row stays whole.
    assert promised == [True, False, True]


def mesh_of(**axes):
    """A mesh of the first devices."""
    devices = jax.devices()[: int(np.prod(list(axes.values())))]
    return jax.make_mesh(tuple(axes.values()), tuple(axes), axis_types=(AxisType.Auto,) * len(axes), devices=devices)


@pytest.mark.parametrize("rows", ["whole", "spans"])
@pytest.mark.parametrize("backend", ["cudnn", "tokamax", "splash"])
def test_kernel_of_the_platform_is_exact(backend, rows):
    """bfloat16 with heads of 64: each product rounds its factors to 8 bits."""
    arrays, spans = inputs(300, heads=2, head=64, longest=250)
    whole = rows == "whole"
    spans = whole_rows((120, 300), 300) if whole else spans
    if jax.default_backend() == "cpu":
        pytest.skip("no GPU or TPU here")
    obstacle = unsupported_reason(backend, Call(jax.default_backend(), 300, 64, jnp.bfloat16))
    if obstacle is not None:
        pytest.skip(f"{backend}: {obstacle}")
    arrays = tuple(x / 2 for x in arrays)
    check(partial(attend, backend=backend, whole=whole), arrays, spans, dtype=jnp.bfloat16, atol=0.06)
