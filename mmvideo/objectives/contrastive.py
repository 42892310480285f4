"""Contrastive learning between modalities, and between joint groups of them and others.

The two sides of a clip are pulled together and those of different clips apart, over all clips of
the global batch. Each side is pooled where its modalities have met nobody else (`Features.tokens`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.config import Model, dimensions
from mmvideo.model.features import Features
from mmvideo.model.heads import ProjectionHead
from mmvideo.model.layers import parameter
from mmvideo.model.pool import pool
from mmvideo.objectives.counting import mean_where
from mmvideo.objectives.needs import kept_apart, require_modalities
from mmvideo.stream import MODALITIES, StreamSpec, TokenStream

Group = tuple[str, ...]
Embedded = dict[str, tuple[Float[Array, "B E d"], Bool[Array, "B E"]]]

LARGEST_SCALE = 100.0
"""The learned scale of the logits is kept at or below this (CLIP, Radford et al. 2021, section 2.5)."""

NEVER = -1e9
"""Logit of a pair that takes no part; finite, so that gradients are."""


@dataclasses.dataclass(frozen=True)
class Contrastive:
    """Contrastive learning over pairs of modalities.

    Attributes:
      pairs: which sides are compared, as `video-text`, `audio-text`, `video-audio`, or with a joint
        side as `video+audio-text`. A clip that lacks a part of either side takes no part in the
        pair, neither as positive nor as negative.
      pair_weights: of each pair in the mean over pairs; None weighs them alike.
      weight: of this objective in the total loss.
      form: of the loss: `softmax` over the batch in both directions (CLIP), or `sigmoid` of each
        clip with each (SigLIP).
      width: numbers of an embedding.
      temperature: at the start; None is 0.07 for softmax and 0.1 for sigmoid.
      learned: whether temperature (and bias) are learned, one for each pair; the scale of the
        logits, one over the temperature, stays at or below 100.
      bias: of the sigmoid's logits, at the start.
    """

    pairs: tuple[str, ...] = ("video-text", "audio-text", "video-audio")
    pair_weights: tuple[float, ...] | None = None
    weight: float = 1.0
    form: Literal["softmax", "sigmoid"] = "softmax"
    width: int = 128
    temperature: float | None = None
    learned: bool = True
    bias: float = -10.0
    kind: Literal["contrastive"] = "contrastive"

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError("contrastive.pairs is empty: name pairs such as video-text")
        if self.temperature is not None and self.temperature < 1 / LARGEST_SCALE:
            raise ValueError(f"contrastive.temperature {self.temperature} must be {1 / LARGEST_SCALE} or more")
        if self.width < 1:
            raise ValueError(f"contrastive.width {self.width} must be 1 or more")
        weights = self.pair_weights
        if weights is not None and (len(weights) != len(self.pairs) or min(weights) < 0 or max(weights) == 0):
            raise ValueError(f"contrastive.pair_weights {weights} must hold a weight, 0 or more, for each pair")
        names = [pair_name(*parse_pair(pair)) for pair in self.pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"contrastive.pairs {self.pairs} names a pair twice")

    @property
    def groups(self) -> tuple[Group, ...]:
        """The sides of all pairs, each once, in order of first use."""
        return tuple(dict.fromkeys(side for pair in self.pairs for side in parse_pair(pair)))

    def heads(self, model: Model, spec: StreamSpec, *, rngs: nnx.Rngs) -> ContrastiveHeads:
        """New heads.

        Raises:
          ValueError: the run lacks a modality of a pair, or the fusion keeps a side never apart.
        """
        for group in self.groups:
            require_modalities(spec, group, "contrastive")
            if not kept_apart(model, spec, group):
                raise ValueError(
                    f"contrastive compares {group_name(group)} before it has met other modalities, but "
                    f"model.fusion.scheme {model.fusion.scheme!r} mixes them from the first layer: choose late, or mid "
                    "with model.fusion.layer (and media_layer) of 1 or more"
                )
        return ContrastiveHeads(self, dimensions(model).width, rngs=rngs)

    def embeddings(self, heads: ContrastiveHeads, features: Features, stream: TokenStream) -> Embedded:
        """By group name: unit embeddings `[B, E, d]`, float32, and which clips have the whole group `[B, E]`."""
        slots = stream.clips.number.shape[1]
        embedded = {}
        for group in self.groups:
            pooled, present = pool(features.tokens(group), features.layout, group, slots)
            embedded[group_name(group)] = heads.projections[group_name(group)](pooled), present
        return embedded

    def loss(
        self, heads: ContrastiveHeads, features: Features, stream: TokenStream, trunk: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The mean over pairs of their losses, by `pair_weights`.

        Metrics of each pair: `loss`; `chance_loss`, that of guessing among as many clips;
        `accuracy` of finding the partner in the batch; `clips` that took part; `temperature`.
        """
        embedded = self.embeddings(heads, features, stream)
        number = stream.clips.number.reshape(-1)
        losses, metrics = [], {}
        for place, (left, right) in enumerate(parse_pair(pair) for pair in self.pairs):
            (a, a_has), (b, b_has) = embedded[group_name(left)], embedded[group_name(right)]
            a, b = a.reshape(-1, self.width), b.reshape(-1, self.width)
            valid = (a_has & b_has).reshape(-1)
            scale = heads.scale(place)
            if self.form == "softmax":
                loss = softmax_contrastive(a, b, valid, scale, number)
            else:
                loss = sigmoid_contrastive(a, b, valid, scale, heads.offset(place), number)
            losses.append(loss)
            name = pair_name(left, right)
            metrics[f"{name}/loss"] = loss
            metrics[f"{name}/chance_loss"] = chance_loss(valid, self.form)
            metrics[f"{name}/accuracy"] = retrieval_accuracy(a, b, valid, number)
            metrics[f"{name}/clips"] = valid.sum().astype(jnp.float32)
            metrics[f"{name}/temperature"] = 1 / scale
        weights = jnp.array(self.pair_weights or [1.0] * len(losses), jnp.float32)
        return jnp.dot(jnp.stack(losses), weights) / weights.sum(), metrics


class ContrastiveHeads(nnx.Module):
    """A projection for each side, a temperature and (for the sigmoid) a bias for each pair."""

    def __init__(self, config: Contrastive, width: int, *, rngs: nnx.Rngs):
        self.config = config
        self.projections = nnx.Dict(
            {group_name(group): ProjectionHead(width, config.width, rngs=rngs) for group in config.groups}
        )
        if config.learned:
            self.log_scale = parameter(jnp.full(len(config.pairs), self._first_log_scale()), "norm")
            if config.form == "sigmoid":
                self.bias = parameter(jnp.full(len(config.pairs), config.bias), "norm")

    def scale(self, pair: int) -> Float[Array, ""]:
        """The factor of the cosines of a pair: one over its temperature."""
        if not self.config.learned:
            return jnp.exp(jnp.float32(self._first_log_scale()))
        return bounded_exp(self.log_scale[...][pair])

    def offset(self, pair: int) -> Float[Array, ""]:
        """The bias of the sigmoid's logits of a pair."""
        return self.bias[...][pair] if self.config.learned else jnp.float32(self.config.bias)

    def _first_log_scale(self) -> float:
        usual = 0.07 if self.config.form == "softmax" else 0.1
        return -math.log(self.config.temperature or usual)


@jax.custom_vjp
def bounded_exp(log_scale: Float[Array, ""]) -> Float[Array, ""]:
    """`exp`, at most `LARGEST_SCALE`; at the bound only a gradient that leads back passes.

    A plain minimum would also stop that one, and a temperature that touched the bound stay for ever.
    """
    return jnp.exp(jnp.minimum(log_scale, math.log(LARGEST_SCALE)))


def _bounded_exp_forward(log_scale: Array) -> tuple[Array, tuple[Array, Array]]:
    scale = bounded_exp(log_scale)
    return scale, (scale, log_scale >= math.log(LARGEST_SCALE))


def _bounded_exp_backward(kept: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    scale, at_bound = kept
    # Descent goes against the gradient: only a positive one lowers the scale.
    return (scale * jnp.where(at_bound, jnp.maximum(gradient, 0), gradient),)


bounded_exp.defvjp(_bounded_exp_forward, _bounded_exp_backward)


def softmax_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    scale: Float[Array, ""],
    number: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Cross entropy of finding each one's partner among all, the mean of both directions (InfoNCE).

    van den Oord et al. 2018, equation 4, made symmetric as in Radford et al. 2021, figure 3.

    Args:
      a, b: unit embeddings; row `i` of one belongs to row `i` of the other.
      valid: which rows take part at all.
      scale: factor of the cosines, one over the temperature.
      number: which clip a row is; two rows of one clip are never each other's negatives.

    Returns:
      The mean over the valid rows; 0 if there is none.
    """
    logits = jnp.where(_compared(valid, number), scale * _cosines(a, b), NEVER)
    own = jnp.diagonal(logits)
    rows = jax.nn.logsumexp(logits, axis=1) - own
    columns = jax.nn.logsumexp(logits, axis=0) - own
    return mean_where((rows + columns) / 2, valid)


def sigmoid_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    number: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Binary cross entropy of every pair of rows: partners or not (SigLIP, Zhai et al. 2023, section 3.2).

    Arguments as of `softmax_contrastive`; `bias` is added to the scaled cosines. The sum over all
    compared pairs is divided by the number of valid rows; 0 if there is none.
    """
    sign = 2 * jnp.eye(a.shape[0], dtype=jnp.float32) - 1
    each = -jax.nn.log_sigmoid(sign * (scale * _cosines(a, b) + bias))
    return jnp.where(_compared(valid, number), each, 0).sum() / jnp.maximum(valid.sum(), 1)


def chance_loss(valid: Bool[Array, " n"], form: str) -> Float[Array, ""]:
    """The least loss of embeddings that tell nothing, among the valid rows (taken as different clips).

    For the softmax that is the logarithm of their number. For the sigmoid it is that of answering
    each pair with the share of partners among pairs, which the bias alone can learn.
    """
    count = jnp.maximum(valid.sum(), 1).astype(jnp.float32)
    if form == "softmax":
        return jnp.log(count)
    return jnp.log(count) - jax.scipy.special.xlog1py(count - 1, -1 / count)


def retrieval_accuracy(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    number: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Share of the valid rows whose partner is nearer than all others of the batch, the mean of both directions.

    A tie is no hit, so embeddings that are all the same score 0.
    """
    cosines = jnp.where(_compared(valid, number), _cosines(a, b), NEVER)
    own = jnp.diagonal(cosines)
    others = jnp.where(jnp.eye(len(own), dtype=jnp.bool_), NEVER, cosines)
    hits = (own > others.max(axis=1)).astype(jnp.float32) + (own > others.max(axis=0)).astype(jnp.float32)
    return mean_where(hits / 2, valid)


def _cosines(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float[Array, "n n"]:
    """Inner products in true float32: a scale of 100 would magnify the rounding of fast ones."""
    return jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def _compared(valid: Bool[Array, " n"], number: Int[Array, " n"] | None) -> Bool[Array, "n n"]:
    """Which pairs of rows are compared: valid ones, and of the same clip only a row with itself."""
    compared = valid[:, None] & valid[None, :]
    if number is None:
        return compared
    same = number[:, None] == number[None, :]
    return compared & (~same | jnp.eye(len(number), dtype=jnp.bool_))


def parse_pair(pair: str) -> tuple[Group, Group]:
    """The two sides of a pair such as `video+audio-text`, each in the order of `MODALITIES`.

    Raises:
      ValueError: not two sides, an unknown modality, or one that is on both sides.
    """
    sides = [side.split("+") for side in pair.split("-")]
    names = [name for side in sides for name in side]
    if len(sides) != 2 or not set(names) <= set(MODALITIES) or len(set(names)) < len(names):
        raise ValueError(
            f"contrastive.pairs: {pair!r} is not a pair such as 'video-text' or 'video+audio-text': two sides of "
            f"{', '.join(MODALITIES)}, each modality at most once"
        )
    left, right = (tuple(name for name in MODALITIES if name in side) for side in sides)
    return left, right


def group_name(group: Group) -> str:
    """`("video", "audio")` as `video+audio`."""
    return "+".join(group)


def pair_name(left: Group, right: Group) -> str:
    """Two groups as `video+audio-text`."""
    return f"{group_name(left)}-{group_name(right)}"
