"""From tokens to one vector a clip: the mean, class tokens, the last, or a learned query that attends to them."""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.attention.dispatch import MASKED_SCORE
from mmvideo.model.config import AttentionPooling
from mmvideo.model.features import Features
from mmvideo.model.layers.basic import ACTIVATIONS, LayerNorm, Linear, parameter, xavier
from mmvideo.stream import MODALITIES, TokenLayout

Pooling = Literal["mean", "class", "map", "last"]
"""The kinds of pooling."""

KINDS = get_args(Pooling)


class Pooler(nnx.Module):
    """One vector for each clip of a row.

    `mean` is that of the clip's tokens, `class` that of its class tokens, those of every modality of
    the group alike, `map` is `AttentionPool`, and `last` is the clip's last token of the group: of a text
    the mark of its end (CLIP), or what fills it up (SigLIP).

    Args:
      kind: `mean`, `class`, `map` or `last`.
      width: `D`.
      heads: `N` of attention pooling.
      settings: what attention pooling is made of.

    Raises:
      ValueError: an unknown kind.
    """

    def __init__(
        self, kind: str, width: int, heads: int, settings: AttentionPooling = AttentionPooling(), *, rngs: nnx.Rngs
    ):
        if kind not in KINDS:
            raise ValueError(f"pooling {kind!r} is unknown: choose one of {', '.join(KINDS)}")
        self.kind = kind
        if kind == "map":
            self.attention = AttentionPool(width, heads, settings, rngs=rngs)

    def __call__(
        self, features: Features, tap: int, group: tuple[str, ...], slots: int
    ) -> tuple[Float[Array, "B E D"], Bool[Array, "B E"]]:
        """The vectors of a group of modalities.

        Args:
          features: of the trunk.
          tap: number of the tap to pool.
          group: the modalities whose tokens count.
          slots: clip slots of a row, `E`.

        Returns:
          Vectors in float32, zero for a clip without any token of the group; and True for a clip that
          has tokens of every modality of it.

        Raises:
          ValueError: an unknown modality, none, or `class` for a model without class tokens.
        """
        tokens, layout = features.taps[tap], features.layout
        if self.kind == "mean":
            return pool(tokens, layout, group, slots)
        each = members(layout, group, slots)
        present = each.any(axis=-1)
        if self.kind == "class":
            pooled = _mean_class(features.classes[tap], present, group)
        elif self.kind == "last":
            pooled = _last(tokens, each.any(axis=0))
        else:
            pooled = self.attention(jnp.where(layout.is_token[..., None], tokens, 0), each.any(axis=0))
        return jnp.where(present.any(axis=0)[..., None], pooled, 0), present.all(axis=0)


class AttentionPool(nnx.Module):
    """A learned query attends to a clip's tokens (SigLIP's head; Zhai et al., arXiv 2106.04560).

    `y` is the attention's answer, and `y + MLP(norm(y))` the vector (Lee et al. 2019, eq. 6 and 11).
    """

    def __init__(self, width: int, heads: int, settings: AttentionPooling = AttentionPooling(), *, rngs: nnx.Rngs):
        if width % heads:
            raise ValueError(f"attention pooling: the width {width} is not a multiple of the {heads} heads")
        self.heads, self.activation = heads, settings.activation
        inner = 4 * width if settings.feed_forward is None else settings.feed_forward
        self.probe = parameter(xavier(rngs, (width,), 1, width), "norm")
        self.query = Linear(width, width, axes=("embed", "mlp"), rngs=rngs)
        self.key = Linear(width, width, axes=("embed", "mlp"), rngs=rngs)
        self.value = Linear(width, width, axes=("embed", "mlp"), rngs=rngs)
        self.out = Linear(width, width, axes=("mlp", "embed"), rngs=rngs)
        self.norm = LayerNorm(width, settings.epsilon)
        self.up = Linear(width, inner, axes=("embed", "mlp"), rngs=rngs)
        self.down = Linear(inner, width, axes=("mlp", "embed"), rngs=rngs)

    def __call__(self, tokens: Float[Array, "B L D"], member: Bool[Array, "B E L"]) -> Float[Array, "B E D"]:
        """Vectors in float32; that of a clip without members means nothing.

        Args:
          tokens: finite, also in padding.
          member: which tokens each clip's query sees.
        """
        # All clips ask with one query, so that each key is scored once, whatever the number of clips.
        split = (*tokens.shape[:2], self.heads, -1)
        query = self.query(self.probe[...].astype(tokens.dtype)).reshape(self.heads, -1)
        key, value = self.key(tokens).reshape(split), self.value(tokens).reshape(split)
        scores = jnp.einsum("nh,blnh->bnl", query, key, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(member[:, :, None], scores[:, None], MASKED_SCORE), axis=-1)
        mixed = jnp.einsum("benl,blnh->benh", weights.astype(value.dtype), value, preferred_element_type=jnp.float32)
        y = self.out(mixed.reshape(*mixed.shape[:2], -1))
        return y + self.down(ACTIVATIONS[self.activation](self.up(self.norm(y))))


def pool(
    tokens: Float[Array, "B L D"], layout: TokenLayout, modalities: tuple[str, ...], clips: int
) -> tuple[Float[Array, "B E D"], Bool[Array, "B E"]]:
    """The mean over each clip's tokens of the named modalities.

    Args:
      tokens: features in the rows of `layout`.
      layout: which clip and modality each token is of.
      modalities: names out of `MODALITIES`; a clip's tokens of all of them count alike.
      clips: clip slots of a row, `E`.

    Returns:
      Means in float32, zero for a clip without any such token; and True for a clip that has tokens
      of every named modality. A clip that is not present has no part in any loss.

    Raises:
      ValueError: an unknown modality, or none.
    """
    each = members(layout, modalities, clips)
    member = each.any(axis=0)
    # Padding may hold anything, also what is not a number, and zero times that is not zero.
    tokens = jnp.where(layout.is_token[..., None], tokens, 0)
    total = jnp.einsum("bel,bld->bed", member.astype(tokens.dtype), tokens, preferred_element_type=jnp.float32)
    return total / jnp.maximum(member.sum(axis=-1), 1)[..., None], each.any(axis=-1).all(axis=0)


def _last(tokens: Float[Array, "B L D"], member: Bool[Array, "B E L"]) -> Float[Array, "B E D"]:
    """The last of each clip's tokens, float32; that of a clip without any means nothing."""
    place = jnp.where(member, jnp.arange(member.shape[-1]), 0).max(axis=-1)
    return jnp.take_along_axis(tokens, place[..., None], axis=1).astype(jnp.float32)


def members(layout: TokenLayout, modalities: tuple[str, ...], clips: int) -> Bool[Array, "m B E L"]:
    """For each named modality, which tokens of a row are of it and of which clip.

    Raises:
      ValueError: an unknown modality, or none.
    """
    unknown = [name for name in modalities if name not in MODALITIES]
    if unknown or not modalities:
        raise ValueError(f"cannot pool {unknown or 'no modality'}: name some of {', '.join(MODALITIES)}")
    own = layout.clip[:, None, :] == jnp.arange(clips)[:, None]
    return jnp.stack([own & (layout.modality == MODALITIES.index(name))[:, None, :] for name in modalities])


def _mean_class(
    classes: Float[Array, "B E 3 C D"], present: Bool[Array, "m B E"], group: tuple[str, ...]
) -> Float[Array, "B E D"]:
    """The mean over the class tokens of the modalities of the group that a clip has."""
    if classes.shape[3] == 0:
        raise ValueError("pooling 'class' needs class tokens: set model.class_tokens to 1 or more")
    own = classes[:, :, [MODALITIES.index(name) for name in group]].astype(jnp.float32).mean(axis=3)
    has = jnp.moveaxis(present, 0, -1)
    return jnp.where(has[..., None], own, 0).sum(axis=2) / jnp.maximum(has.sum(axis=-1), 1)[..., None]
