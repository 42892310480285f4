"""The backends with kernels of a platform: by their stand-ins here, by themselves where the platform is."""

import importlib.util
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_attention import exact, inputs, whole_rows
from jax.sharding import AxisType

from mmvideo.model.activations import on_own_rows
from mmvideo.model.attention import Call, attend, obstacle_of
from mmvideo.model.cudnn_attention import cudnn_attention
from mmvideo.model.splash_attention import splash_attention
from mmvideo.model.tokamax_attention import tokamax_attention

needs_tokamax = pytest.mark.skipif(importlib.util.find_spec("tokamax") is None, reason="tokamax is not installed")


def check(attention, arrays, spans, soft_cap=None, dtype=jnp.float32, atol=2e-5):
    """Values and gradients of `attention(q, k, v, spans)` against float64."""

    @jax.jit
    def run(q, k, v, gradient, spans):
        values, back = jax.vjp(lambda *qkv: attention(*qkv, spans), q, k, v)
        return values, *back(gradient)

    given = [jnp.asarray(x, dtype) for x in arrays]
    wanted = exact(*(np.asarray(x, np.float64) for x in given), spans, soft_cap)
    for got, want in zip(run(*given, jnp.asarray(spans)), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(got, np.float64), want, atol=atol, rtol=1e-5 if atol < 1e-3 else 0.02)


@pytest.mark.parametrize("length", [36, 37])
def test_cudnn_with_a_bias_is_exact(length):
    arrays, spans = inputs(length)
    check(partial(cudnn_attention, whole=False, implementation="xla"), arrays, spans)


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
    check(partial(tokamax_attention, soft_cap=soft_cap), arrays, spans, soft_cap)


def test_a_missing_tokamax_is_named_with_its_install(monkeypatch):
    monkeypatch.setattr("mmvideo.model.tokamax_attention.importlib.util.find_spec", lambda name: None)
    x = jnp.zeros((1, 4, 1, 8))
    with pytest.raises(ValueError, match=r'pip install "mmvideo\[tokamax\]"'):
        attend(x, x, x, jnp.zeros((1, 4, 2), jnp.int32), backend="tokamax")


@pytest.mark.parametrize("soft_cap", [None, 3.0])
def test_splash_is_exact(soft_cap):
    # Three blocks, the last one only begun: a span may lie in one, or reach over all.
    arrays, spans = inputs(261, heads=2, longest=250)
    check(partial(splash_attention, soft_cap=soft_cap, interpret=True), arrays, spans, soft_cap)


def test_splash_packs_the_longest_spans():
    from mmvideo.model.splash_attention import LONGEST, _within

    packed = jnp.asarray(((LONGEST - 1) << 16) | LONGEST, jnp.uint32).astype(jnp.int32)
    keys = jnp.asarray([0, LONGEST - 2, LONGEST - 1, LONGEST])
    assert _within(packed, keys).tolist() == [False, False, True, False]


def test_splash_lowers_for_a_tpu():
    shape = jax.ShapeDtypeStruct((2, 640, 2, 64), jnp.bfloat16)
    spans = jax.ShapeDtypeStruct((2, 640, 2), jnp.int32)
    run = jax.grad(lambda q, k, v, s: splash_attention(q, k, v, s, soft_cap=50.0).astype(jnp.float32).sum(), (0, 1, 2))
    program = jax.jit(run).trace(shape, shape, shape, spans).lower(lowering_platforms=("tpu",)).as_text()
    assert program.count("tpu_custom_call") >= 3  # forwards, and backwards to the queries and to the keys


def test_a_kernel_runs_on_its_own_rows_and_heads():
    arrays, spans = inputs(16, heads=2)
    q, k, v, _ = (jnp.asarray(np.concatenate([x, x[::-1]]), jnp.float32) for x in arrays)
    spans = jnp.asarray(np.concatenate([spans, spans[::-1]]))
    shapes = []

    def attention(q, k, v, spans):
        shapes.append((q.shape, spans.shape))
        return attend(q, k, v, spans, backend="xla")

    axis_types = (AxisType.Auto,) * 3
    with jax.set_mesh(jax.make_mesh((2, 2, 2), ("data", "fsdp", "tensor"), axis_types=axis_types)):
        got = jax.jit(partial(on_own_rows, attention))(q, k, v, spans)
    assert shapes == [((1, 16, 1, 8), (1, 16, 2))]
    np.testing.assert_allclose(got, attend(q, k, v, spans, backend="xla"), atol=1e-6)


@pytest.mark.parametrize("rows", ["whole", "spans"])
@pytest.mark.parametrize("backend", ["cudnn", "tokamax", "splash"])
def test_kernel_of_the_platform_is_exact(backend, rows):
    """In bfloat16 with heads of 64: each product rounds its factors to 8 bits."""
    arrays, spans = inputs(300, heads=2, head=64, longest=250)
    whole = rows == "whole"
    spans = whole_rows((120, 300), 300) if whole else spans
    if jax.default_backend() == "cpu":
        pytest.skip("no GPU or TPU here")
    obstacle = obstacle_of(backend, Call(jax.default_backend(), 300, 64, jnp.bfloat16))
    if obstacle is not None:
        pytest.skip(f"{backend}: {obstacle}")
    arrays = tuple(x / 2 for x in arrays)
    check(partial(attend, backend=backend, whole=whole), arrays, spans, dtype=jnp.bfloat16, atol=0.06)
