"""Pooling of tokens to one vector per clip: the mean, class tokens, the last token, or a learned query."""

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

    `mean` is the mean of the clip's tokens. `class` is the mean of the class tokens of the group's modalities that the
    clip has. `map` is `AttentionPool`. `last` is the clip's last token of the group: for text the end token (CLIP) or
    the last padding token (SigLIP).

    Args:
      kind: `mean`, `class`, `map` or `last`.
      width: `D`.
      heads: `N` of attention pooling.
      settings: settings of attention pooling.

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
        """Return the pooled vectors of a group of modalities.

        Args:
          features: features of the backbone.
          tap: index of the tap to pool.
          group: the modalities whose tokens count.
          slots: clip slots of a row, `E`.

        Returns:
          Vectors in float32, zero for a clip without any token of the group; and True for a clip that has tokens of
          every modality of the group.

        Raises:
          ValueError: an unknown modality, an empty group, or `class` for a model without class tokens.
        """
        tokens, layout = features.taps[tap], features.layout
        if self.kind == "mean":
            return pool(tokens, layout, group, slots)
        # Masks [m, B, E, L] of the m modalities of the group: `any` over L tells whether a clip has a modality, `any`
        # over m gives the clip's tokens of the group.
        each = members(layout, group, slots)
        present = each.any(axis=-1)
        if self.kind == "class":
            pooled = _mean_class(features.classes[tap], present, group)
        elif self.kind == "last":
            pooled = _last(tokens, each.any(axis=0))
        else:
            # As in `pool`: padding may hold NaN, which would pass through the values even at weight zero.
            pooled = self.attention(jnp.where(layout.is_token[..., None], tokens, 0), each.any(axis=0))
        return jnp.where(present.any(axis=0)[..., None], pooled, 0), present.all(axis=0)


class AttentionPool(nnx.Module):
    """A learned query that attends to a clip's tokens (SigLIP's head; Zhai et al., arXiv 2106.04560).

    With the output `y` of the attention, the vector is `y + MLP(norm(y))` (Lee et al. 2019, eq. 6 and 11).
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
        """Return vectors in float32; that of a clip without members is arbitrary.

        Args:
          tokens: finite values, in padding too.
          member: mask of the tokens that each clip's query attends to.
        """
        # All clips share one query, so each key is scored once, whatever the number of clips: [B, N, L], then one
        # softmax per clip over its own members [B, E, N, L].
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
    """Return the mean over each clip's tokens of the named modalities.

    Args:
      tokens: features in the rows of `layout`.
      layout: clip and modality of each token.
      modalities: names out of `MODALITIES`; all their tokens in a clip have equal weight.
      clips: clip slots of a row, `E`.

    Returns:
      Means in float32, zero for a clip without any such token; and True for a clip that has tokens of every named
      modality. A clip that is not present has no part in any loss.

    Raises:
      ValueError: an unknown modality, or none.
    """
    each = members(layout, modalities, clips)
    member = each.any(axis=0)
    # Padding may hold NaN, and 0 * NaN is NaN: a mask in the product alone would not keep it out.
    tokens = jnp.where(layout.is_token[..., None], tokens, 0)
    total = jnp.einsum("bel,bld->bed", member.astype(tokens.dtype), tokens, preferred_element_type=jnp.float32)
    return total / jnp.maximum(member.sum(axis=-1), 1)[..., None], each.any(axis=-1).all(axis=0)


def _last(tokens: Float[Array, "B L D"], member: Bool[Array, "B E L"]) -> Float[Array, "B E D"]:
    """Return the last of each clip's tokens, float32; that of a clip without any is arbitrary."""
    # Example: member [0, 1, 1, 0] becomes indices [0, 1, 2, 0], whose maximum 2 is the last member.
    index = jnp.where(member, jnp.arange(member.shape[-1]), 0).max(axis=-1)
    return jnp.take_along_axis(tokens, index[..., None], axis=1).astype(jnp.float32)


def members(layout: TokenLayout, modalities: tuple[str, ...], clips: int) -> Bool[Array, "m B E L"]:
    """Return for each named modality and each clip a mask of its tokens in the row.

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
    """Return the mean over the class tokens of the group's modalities that a clip has."""
    if classes.shape[3] == 0:
        raise ValueError("pooling 'class' needs class tokens: set model.class_tokens to 1 or more")
    own = classes[:, :, [MODALITIES.index(name) for name in group]].astype(jnp.float32).mean(axis=3)
    has = jnp.moveaxis(present, 0, -1)
    return jnp.where(has[..., None], own, 0).sum(axis=2) / jnp.maximum(has.sum(axis=-1), 1)[..., None]
