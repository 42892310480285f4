"""The backends that run on every platform against attention in numpy with float64, and the choice among all."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exact_attention import exact, inputs

from mmvideo.model.attention.dispatch import AUTOMATIC, Call, attend, attention_weights, choose

EVERYWHERE = ("xla", "chunked")


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


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_huge_scores_stay_finite(backend):
    arrays, spans = inputs()
    q, k, v, gradient = (jnp.asarray(x, jnp.float32) for x in arrays)
    values, back = jax.vjp(lambda *qkv: attend(*qkv, jnp.asarray(spans), backend=backend, chunk=8), q * 1e4, k * 1e3, v)
    assert all(np.isfinite(x).all() for x in (values, *back(gradient)))


@pytest.mark.parametrize("backend", EVERYWHERE)
def test_bfloat16_stays_close(backend):
    arrays, spans = inputs()
    q, k, v, _ = (jnp.asarray(x, jnp.bfloat16) for x in arrays)
    got = attend(q, k, v, jnp.asarray(spans), backend=backend, chunk=8)
    assert got.dtype == jnp.bfloat16
    rounded = [np.asarray(x, np.float64) for x in (q, k, v)]
    # Weights and values are each rounded to 8 bits: errors of 2^-8 of values up to about 8.
    np.testing.assert_allclose(np.asarray(got, np.float64), exact(*rounded, arrays[3], spans)[0], atol=0.04)


def test_weights_are_shares_within_the_span():
    (q, k, _, _), spans = inputs(dtype=np.float32)
    weights = np.asarray(attention_weights(jnp.asarray(q), jnp.asarray(k), jnp.asarray(spans)))
    place = np.arange(q.shape[1])
    seen = ((place >= spans[..., :1]) & (place < spans[..., 1:]))[:, None]
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert (weights[np.broadcast_to(~seen, weights.shape)] == 0).all()


def test_auto_takes_what_can_do_the_call():
    short, long = (Call("cpu", length, 64) for length in (64, 100_000))
    for platform in ("cpu", "gpu", "tpu", "unheard-of"):
        assert choose(dataclasses.replace(short, platform=platform)) == "xla"
        assert AUTOMATIC.get(platform, AUTOMATIC["default"])[-1] == (None, "chunked")
    assert choose(long) == "chunked"
    assert choose(dataclasses.replace(long, platform="tpu")) == "chunked"  # too long for splash attention
    assert choose(dataclasses.replace(long, platform="tpu", length=1024)) == "splash"


@pytest.mark.parametrize(
    ("installed", "whole", "length", "taken"),
    [
        (True, True, 2000, "cudnn"),
        (True, False, 2000, "tokamax"),
        (False, False, 2000, "cudnn"),
        (False, False, 5000, "chunked"),
        (False, True, 5000, "cudnn"),
        (False, False, 256, "xla"),
    ],
)
def test_auto_prefers_fused_kernels_on_a_gpu(monkeypatch, installed, whole, length, taken):
    """bfloat16 rows: cuDNN supports neither float32 nor capped scores, so without tokamax XLA remains for those."""
    monkeypatch.setattr(
        "mmvideo.model.attention.dispatch.tokamax_unsupported_reason", lambda: None if installed else "absent"
    )
    monkeypatch.setattr(
        "mmvideo.model.attention.dispatch.cudnn_unsupported_reason",
        lambda platform, dtype, head, cap: None if dtype == jnp.bfloat16 and cap is None else "it can't",
    )
    call = Call("gpu", length, 64, jnp.bfloat16, whole=whole)
    assert choose(call) == taken
    for other in (dataclasses.replace(call, dtype=jnp.float32), dataclasses.replace(call, soft_cap=30.0)):
        assert choose(other) == ("xla" if length <= 256 else "tokamax" if installed else "chunked")


@pytest.mark.parametrize(
    ("backend", "reason"), [("flash", "xla, chunked"), ("splash", "needs a TPU"), ("cudnn", "needs an NVIDIA GPU")]
)
def test_a_backend_that_cannot_do_it_is_refused(backend, reason):
    if jax.default_backend() != "cpu":
        pytest.skip("the reasons given are those of a CPU")
    x = jnp.zeros((1, 4, 1, 4))
    with pytest.raises(ValueError, match=f"{backend}.*{reason}"):
        attend(x, x, x, jnp.zeros((1, 4, 2), jnp.int32), backend=backend)
