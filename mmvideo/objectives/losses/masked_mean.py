"""Means over what counts: a clip or token without what an objective needs has no part in its loss."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.embed import weave
from mmvideo.model.features import Features
from mmvideo.stream import PADDING


def mean_where(values: Float[Array, "*n"], counted: Bool[Array, "*n"]) -> Float[Array, ""]:
    """The mean of the counted values; 0, with a gradient of 0, where nothing counts."""
    return jnp.where(counted, values, 0).sum() / jnp.maximum(counted.sum(), 1)


def gather_targets(tokens: Float[Array, "B L D"], place: Int[Array, "B M"]) -> Float[Array, "B M D"]:
    """The tokens at the places of targets, float32; zero where `place` is `PADDING`.

    No two targets may name one place (see `weave`, whose backward pass is a gather again).
    """
    return weave(tokens, jnp.maximum(place, 0), place != PADDING).astype(jnp.float32)


def gather_target_features(features: Features, place: Int[Array, "B M"]) -> Int[Array, "B M"]:
    """Where the tokens at these places of the stream's rows stand in the rows of the taps; `PADDING` if they don't."""
    if features.place is None:
        return place
    return jnp.where(place == PADDING, PADDING, jnp.take_along_axis(features.place, jnp.maximum(place, 0), axis=1))


def stream_rows(features: Features) -> Float[Array, "B S D"]:
    """The tokens at the top in the rows of the stream; zero for those that the trunk does not keep."""
    if features.place is None:
        return features.top
    return weave(features.top, jnp.maximum(features.place, 0), features.place != PADDING)


def clips_with(clip: Int[Array, "B M"], slots: int) -> Float[Array, ""]:
    """How many clips own at least one of the targets.

    Args:
      clip: slot of the clip of each target in its row, or `PADDING`.
      slots: clip slots of a row, `E`.
    """
    return jax.nn.one_hot(clip, slots, dtype=jnp.bool_).any(axis=1).sum().astype(jnp.float32)


def binary_cross_entropy(logits: Float[Array, "*n"], answer: Bool[Array, "*n"]) -> Float[Array, "*n"]:
    """`-log p` of the right answer, where `p` of True is the sigmoid of the logit."""
    return jax.nn.softplus(jnp.where(answer, -logits, logits))
