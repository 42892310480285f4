"""Means over masked values: clips or tokens without the inputs of an objective take no part in its loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.embed import weave
from mmvideo.model.features import Features
from mmvideo.stream import PADDING


def mean_where(values: Float[Array, "*n"], counted: Bool[Array, "*n"]) -> Float[Array, ""]:
    """Return the mean of the counted values; 0, with a gradient of 0, if none counts."""
    # Values [2, nan, 4], counted [1, 0, 1]: mean 3. The mask comes before the sum, since 0 * nan would be nan.
    return jnp.where(counted, values, 0).sum() / jnp.maximum(counted.sum(), 1)


def gather_targets(tokens: Float[Array, "B L D"], place: Int[Array, "B M"]) -> Float[Array, "B M D"]:
    """Return the tokens at the index of each target, in float32; zero where `place` is `PADDING`.

    No two targets may have the same index (see `weave`, whose backward pass is a gather).
    """
    return weave(tokens, jnp.maximum(place, 0), place != PADDING).astype(jnp.float32)


def gather_target_features(features: Features, place: Int[Array, "B M"]) -> Int[Array, "B M"]:
    """Return the index in the rows of the taps of tokens of the stream; `PADDING` if the taps do not keep them."""
    if features.place is None:
        return place
    # A tap that keeps tokens [1, 3] of 4 has features.place [-1, 0, -1, 1]: place [3, 0] becomes [1, -1].
    return jnp.where(place == PADDING, PADDING, jnp.take_along_axis(features.place, jnp.maximum(place, 0), axis=1))


def stream_rows(features: Features) -> Float[Array, "B S D"]:
    """Return the top tokens in the rows of the stream; zero for tokens that the backbone does not keep."""
    if features.place is None:
        return features.top
    return weave(features.top, jnp.maximum(features.place, 0), features.place != PADDING)


def clips_with(clip: Int[Array, "B M"], slots: int) -> Float[Array, ""]:
    """Return the number of clips that own at least one target.

    Args:
      clip: Slot of each target's clip in its row, or `PADDING`.
      slots: Clip slots of a row, `E`.
    """
    # Clips [0, 0, 2, -1] of one row with 3 slots: slots 0 and 2 own targets, so 2 clips; PADDING is an empty one-hot.
    return jax.nn.one_hot(clip, slots, dtype=jnp.bool_).any(axis=1).sum().astype(jnp.float32)


def binary_cross_entropy(logits: Float[Array, "*n"], answer: Bool[Array, "*n"]) -> Float[Array, "*n"]:
    """Return `-log p` of the true answer, where `p` of True is the sigmoid of the logit."""
    return jax.nn.softplus(jnp.where(answer, -logits, logits))
