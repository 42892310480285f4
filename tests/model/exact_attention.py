"""Attention by the formulas, in float64 numpy: values and gradients."""

import numpy as np


def inputs(length=37, heads=3, head=8, longest=20, dtype=np.float64):
    """Return queries, keys, values, the gradient of the values, and random spans."""
    draw = np.random.default_rng(0)
    q, k, v, gradient = draw.normal(size=(4, 2, length, heads, head)) * 2
    start = draw.integers(0, length, (2, length))
    end = np.minimum(start + draw.integers(1, longest, start.shape), length)
    return tuple(x.astype(dtype) for x in (q, k, v, gradient)), np.stack([start, end], -1).astype(np.int32)


def whole_rows(counts, length):
    """Return spans of rows of one clip of `counts` tokens that attends to all of itself; padding attends to itself."""
    place = np.arange(length)
    rows = []
    for count in counts:
        real = place < count
        rows.append(np.stack([np.where(real, 0, place), np.where(real, count, place + 1)], axis=-1))
    return np.stack(rows).astype(np.int32)


def exact(q, k, v, gradient, spans, soft_cap=None):
    """Return the output and the gradients of q, k and v."""
    place = np.arange(q.shape[1])
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
