"""Every backend against attention in numpy with float64, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.model.attention import AUTOMATIC, BACKENDS, attend, attention_weights, choose

LENGTH = 37


def inputs(dtype=np.float64):
    draw = np.random.default_rng(0)
    q, k, v, gradient = draw.normal(size=(4, 2, LENGTH, 3, 8)) * 2
    start = draw.integers(0, LENGTH, (2, LENGTH))
    end = np.minimum(start + draw.integers(1, 20, start.shape), LENGTH)
    return tuple(x.astype(dtype) for x in (q, k, v, gradient)), np.stack([start, end], -1).astype(np.int32)


def exact(q, k, v, gradient, spans, soft_cap=None):
    """Values and the gradients to q, k and v, by the formulas, float64."""
    place = np.arange(LENGTH)
    seen = ((place >= spans[..., :1]) & (place < spans[..., 1:]))[:, None]
    scale = q.shape[-1] ** -0.5
    scores, slope = np.einsum("bqnh,bknh->bnqk", q, k) * scale, 1.0
    if soft_cap is not None:
        slope = 1 / np.cosh(scores / soft_cap) ** 2
        scores = soft_cap * np.tanh(scores / soft_cap)
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    d_weights = np.einsum("bqnh,bknh->bnqk", gradient, v)
    d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True)) * slope * scale
    return (
        np.einsum("bnqk,bknh->bqnh", weights, v),
        np.einsum("bnqk,bknh->bqnh", d_scores, k),
        np.einsum("bnqk,bqnh->bknh", d_scores, q),
        np.einsum("bnqk,bqnh->bknh", weights, gradient),
    )


@pytest.mark.parametrize("soft_cap", [None, 3.0])
@pytest.mark.parametrize(
    ("backend", "chunk"), [("xla", 1), ("chunked", 1), ("chunked", 8), ("chunked", 37), ("chunked", 64)]
)
def test_backend_is_exact_in_values_and_gradients(backend, chunk, soft_cap):
    arrays, spans = inputs()
    q, k, v, gradient = (jnp.asarray(x, jnp.float32) for x in arrays)

    @jax.jit
    def run(q, k, v, gradient):
        settings = {"backend": backend, "chunk": chunk, "soft_cap": soft_cap}
        values, back = jax.vjp(lambda *qkv: attend(*qkv, jnp.asarray(spans), **settings), q, k, v)
        return values, *back(gradient)

    for got, want in zip(run(q, k, v, gradient), exact(*arrays, spans, soft_cap), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_huge_scores_stay_finite(backend):
    arrays, spans = inputs()
    q, k, v, gradient = (jnp.asarray(x, jnp.float32) for x in arrays)
    values, back = jax.vjp(lambda *qkv: attend(*qkv, jnp.asarray(spans), backend=backend, chunk=8), q * 1e4, k * 1e3, v)
    assert all(np.isfinite(x).all() for x in (values, *back(gradient)))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_stays_close(backend):
    arrays, spans = inputs()
    q, k, v, _ = (jnp.asarray(x, jnp.bfloat16) for x in arrays)
    got = attend(q, k, v, jnp.asarray(spans), backend=backend, chunk=8)
    assert got.dtype == jnp.bfloat16
    rounded = [np.asarray(x, np.float64) for x in (q, k, v)]
    # Weights and values are each rounded to 8 bits: errors of 2^-8 of values up to about 8.
    np.testing.assert_allclose(np.asarray(got, np.float64), exact(*rounded, arrays[3], spans)[0], atol=0.04)


def test_chunked_memory_is_linear():
    def scratch(length, backend):
        shape = jax.ShapeDtypeStruct((1, length, 1, 4), jnp.float32)
        spans = jax.ShapeDtypeStruct((1, length, 2), jnp.int32)
        run = jax.grad(lambda q, s: attend(q, q, q, s, backend=backend, chunk=64).sum())
        return jax.jit(run).lower(shape, spans).compile().memory_analysis().temp_size_in_bytes

    square = 4096**2 * 4
    assert scratch(4096, "xla") > square
    assert scratch(4096, "chunked") < square / 4
    assert scratch(4096, "chunked") < 2.5 * scratch(2048, "chunked")


def test_weights_are_shares_within_the_span():
    (q, k, _, _), spans = inputs(np.float32)
    weights = np.asarray(attention_weights(jnp.asarray(q), jnp.asarray(k), jnp.asarray(spans)))
    place = np.arange(LENGTH)
    seen = ((place >= spans[..., :1]) & (place < spans[..., 1:]))[:, None]
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert (weights[np.broadcast_to(~seen, weights.shape)] == 0).all()


def test_auto_takes_the_reference_for_short_rows_only():
    for platform in ("cpu", "gpu", "tpu"):
        assert choose(platform, 64) == "xla"
        assert choose(platform, 100_000) == "chunked"
    assert all(rows[-1][0] is None for rows in AUTOMATIC.values())


def test_unknown_backend_is_refused():
    x = jnp.zeros((1, 4, 1, 4))
    with pytest.raises(ValueError, match="flash.*xla, chunked"):
        attend(x, x, x, jnp.zeros((1, 4, 2), jnp.int32), backend="flash")
