"""Contrastive objective between modalities, and between groups of modalities.

The loss pulls the two sides of one clip together and pushes the sides of different clips apart, over all clips of the
global batch. Each side is pooled at the deepest layer at which its modalities have met no other (`Features.tokens`).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.factory import feature_width, make_pooler
from mmvideo.model.features import Features
from mmvideo.model.heads import ProjectionHead, unit
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.layers.basic import parameter
from mmvideo.model.pool import Pooling
from mmvideo.objectives.components.caption_pooling import count_same, pool_captions, same_captions
from mmvideo.objectives.components.modality_groups import Group, group_name, pair_name, parse_pair
from mmvideo.objectives.components.requirements import has_unfused_features, require_modalities, require_tokens
from mmvideo.objectives.losses.contrastive_losses import (
    chance_loss,
    mil_nce,
    retrieval_accuracy,
    sigmoid_contrastive,
    softmax_contrastive,
)
from mmvideo.objectives.losses.temperature import LARGEST_SCALE, bounded_exp
from mmvideo.stream import StreamSpec, TokenStream

Projection = Literal["normed", "linear", "matrix", "none"]
"""How a side's vector becomes an embedding."""

Embedded = dict[str, tuple[Float[Array, "B E d"], Bool[Array, "B E"]]]


@dataclasses.dataclass(frozen=True)
class Contrastive:
    """Contrastive learning over pairs of modalities.

    A clip that lacks a modality of either side takes no part in the pair, neither as a positive nor as a negative. A
    clip with shifted audio (`input.audio.misaligned`) is only a negative in pairs that hold both video and audio.

    Attributes:
      pairs: The sides that are compared, such as `video-text`, `audio-text` or `video-audio`, or with a joint side as
        in `video+audio-text`.
      pair_weights: Weight of each pair in the mean over pairs. None weighs all pairs equally.
      weight: Weight of this objective in the total loss.
      form: Form of the loss: `softmax` over the batch (CLIP), `sigmoid` of every pair of clips (SigLIP), or `mil_nce`,
        in which any caption of a clip may match (MIL-NCE, VATT). The other forms take the captions of a clip as one
        text.
      direction: Direction of the search: `forward` finds the second side from the first, `backward` the first from the
        second, and `both` averages the two. The sigmoid has no direction.
      repeats: Role of clips with equal captions in a batch, in pairs with text: `negatives` of each other (CLIP),
        `left_out` of the negatives, or `positives` of each other (supervised contrastive). Captions that are class
        names need one of the latter two. `mil_nce` supports `negatives` only.
      chunk: Number of clips (captions for `mil_nce`) that all others are compared with at a time, so that memory grows
        linearly with the batch. None compares all at once.
      pooling: Pooling of the tokens of a side into one vector: their `mean`, the mean of its `class` tokens, or a
        learned query that attends to them (`map`, SigLIP).
      poolings: Pooling by side, such as `text`, for sides that differ from `pooling`.
      width: Number of elements of an embedding. None compares the pooled features themselves, without a projection
        (CAV-MAE).
      projection: Projection from the pooled vector of a side to its embedding: a norm and a linear map (`normed`), the
        linear map alone (`linear`, SigLIP's text), a linear map without bias (`matrix`, CLIP), or `none` (SigLIP's
        images).
      projections: Projection by side, for sides that differ from `projection`.
      temperature: Initial temperature. None is 0.1 for the sigmoid and 0.07 for the other forms.
      learned: True to learn the temperature (and the bias) of each pair. The scale of the logits, one over the
        temperature, stays at or below 100.
      bias: Initial bias of the sigmoid's logits.
    """

    pairs: tuple[str, ...] = ("video-text", "audio-text", "video-audio")
    pair_weights: tuple[float, ...] | None = None
    weight: float = 1.0
    form: Literal["softmax", "sigmoid", "mil_nce"] = "softmax"
    direction: Literal["both", "forward", "backward"] = "both"
    repeats: Literal["negatives", "left_out", "positives"] = "negatives"
    chunk: int | None = None
    pooling: Pooling = "mean"
    poolings: dict[str, Pooling] | None = dataclasses.field(default=None, hash=False)
    width: int | None = 128
    projection: Projection = "normed"
    projections: dict[str, Projection] | None = dataclasses.field(default=None, hash=False)
    temperature: float | None = None
    learned: bool = True
    bias: float = -10.0
    kind: Literal["contrastive"] = "contrastive"

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError("contrastive.pairs is empty: name pairs such as video-text")
        if self.temperature is not None and self.temperature < 1 / LARGEST_SCALE:
            raise ValueError(f"contrastive.temperature {self.temperature} must be {1 / LARGEST_SCALE} or more")
        if self.width is not None and self.width < 1:
            raise ValueError(f"contrastive.width {self.width} must be 1 or more, or None")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"contrastive.chunk {self.chunk} must be 1 or more, or None")
        if self.form == "sigmoid" and self.direction != "both":
            raise ValueError(f"contrastive.direction {self.direction!r}: the sigmoid has none, leave it at 'both'")
        sides = [group_name(group) for group in self.groups]
        for field in ("poolings", "projections"):
            for side in getattr(self, field) or {}:
                if side not in sides:
                    raise ValueError(f"contrastive.{field} names {side!r}, but the sides are {', '.join(sides)}")
        if self.form == "mil_nce" and self.repeats != "negatives":
            raise ValueError(
                f"contrastive.repeats {self.repeats!r} is for softmax and sigmoid: mil_nce compares every caption of a "
                "clip by itself"
            )
        weights = self.pair_weights
        if weights is not None and (len(weights) != len(self.pairs) or min(weights) < 0 or max(weights) == 0):
            raise ValueError(f"contrastive.pair_weights {weights} must hold a weight, 0 or more, for each pair")
        names = [pair_name(*parse_pair(pair)) for pair in self.pairs]
        if len(set(names)) < len(names):
            raise ValueError(f"contrastive.pairs {self.pairs} names a pair twice")

    def pooling_of(self, side: str) -> Pooling:
        """Return the pooling of a side by its name."""
        return (self.poolings or {}).get(side, self.pooling)

    def projection_of(self, side: str) -> Projection:
        """Return the projection of a side by its name."""
        return "none" if self.width is None else (self.projections or {}).get(side, self.projection)

    @property
    def unprojected(self) -> bool:
        """True if some side has no projection, so that its embeddings are as wide as the model."""
        # VATT-like recipes project every side; CAV-MAE projects none, and SigLIP only its text.
        return "none" in {self.projection_of(group_name(group)) for group in self.groups}

    @property
    def groups(self) -> tuple[Group, ...]:
        """The sides of all pairs, each once, in order of first use."""
        return tuple(dict.fromkeys(side for pair in self.pairs for side in parse_pair(pair)))

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> ContrastiveHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run lacks a modality of a pair, the fusion has no layer at which a side has met no other
            modality, or class tokens would have to represent each of several captions.
        """
        for group in self.groups:
            require_modalities(spec, group, "contrastive")
            if not has_unfused_features(model, spec, group):
                raise ValueError(
                    f"contrastive compares {group_name(group)} before it has met other modalities, but "
                    f"model.fusion.scheme {model.fusion.scheme!r} mixes them from the first layer: choose late, or mid "
                    "with model.fusion.layer (and media_layer) of 1 or more"
                )
        several = spec.text is not None and self.form == "mil_nce" and ("text",) in self.groups
        # Only mil_nce pools each caption by itself; for all other forms a clip's captions are one text.
        captions = spec.text.captions if several else 1
        if captions > 1:
            require_tokens(model, ("text",), "contrastive.form 'mil_nce' with several captions")
        if captions > 1 and self.pooling_of("text") == "class":
            raise ValueError(
                f"contrastive.pooling 'class': no caption of the {captions} of a clip has a class token of its own; "
                "choose mean or map"
            )
        for side in (group_name(group) for group in self.groups):
            if self.width not in (None, feature_width(model)) and self.projection_of(side) == "none":
                raise ValueError(
                    f"contrastive.width {self.width}: {side} has no projection, so its embedding has the "
                    f"{feature_width(model)} elements of the model; set width to that, or give {side} a projection"
                )
        return ContrastiveHeads(self, model, captions, rngs=rngs)

    def embeddings(self, heads: ContrastiveHeads, features: Features, stream: TokenStream) -> Embedded:
        """Return, for each group, unit embeddings `[B, E, d]` in float32 and a mask of the clips that have it."""
        slots = stream.clips.clip_index.shape[1]
        embedded = {}
        for group in self.groups:
            name = group_name(group)
            pooled, present = heads.poolers[name](features, features.tap(group), group, slots)
            embedded[name] = heads.project(name, pooled), present
        return embedded

    def loss(
        self, heads: ContrastiveHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the mean over pairs of their losses, weighted by `pair_weights`.

        Metrics of each pair: `loss`; `chance_loss`, the loss of guessing among as many clips; `accuracy` of finding the
        partner in the batch; `clips`, the number of positives; `temperature`.
        """
        embedded = self.embeddings(heads, features, stream)
        losses, metrics = [], {}
        for place, (left, right) in enumerate(parse_pair(pair) for pair in self.pairs):
            own = self._pair(heads, place, embedded, features, stream)
            losses.append(own["loss"])
            metrics |= {f"{pair_name(left, right)}/{key}": value for key, value in own.items()}
        # Losses [2.0, 4.0] with pair weights (3, 1): (6 + 4) / 4 = 2.5. None is (1, 1): 3.0.
        weights = jnp.array(self.pair_weights or [1.0] * len(losses), jnp.float32)
        return jnp.dot(jnp.stack(losses), weights) / weights.sum(), metrics

    def _pair(
        self, heads: ContrastiveHeads, place: int, embedded: Embedded, features: Features, stream: TokenStream
    ) -> dict[str, Float[Array, ""]]:
        """Return the loss and the metrics of one pair."""
        left, right = parse_pair(self.pairs[place])
        direction = self.direction
        if self.form == "mil_nce" and left == ("text",):
            # The candidates are captions, and candidates belong to the second side: `text-video` is computed as
            # `video-text` with its direction reversed.
            left, right = right, left
            direction = {"forward": "backward", "backward": "forward"}.get(direction, direction)
        (a, a_has), (b, b_has) = (embedded[group_name(side)] for side in (left, right))
        a = a.reshape(-1, a.shape[-1])
        b = b.reshape(-1, b.shape[-1])
        valid = (a_has & b_has).reshape(-1)
        # The candidates of MIL-NCE are captions, so text is the second side after this swap.
        positive = valid
        if {"video", "audio"} <= {*left, *right}:
            # Shifted audio does not match its own video, but is still a valid negative for the other clips.
            positive &= stream.clips.aligned.reshape(-1)
        scale = heads.scale(place)
        has = None
        shared = {"number": stream.clips.clip_index.reshape(-1), "positive": positive, "chunk": self.chunk}
        same = {}
        if self.repeats != "negatives" and "text" in (*left, *right):
            # `alike` gives clips with equal captions one number: for captions a, b, a it is [0, 1, 0]. As a second
            # column of `number` it removes clips 0 and 2 from each other's negatives.
            alike = same_captions(stream, valid)
            same = {"same": count_same(alike, valid), "partners": self.repeats == "positives"}
            shared["number"] = jnp.stack([shared["number"], alike], axis=-1)
            if self.repeats == "positives":
                # Rows with one `place` are positives of each other. Rows that are not positive keep a place of their
                # own.
                shared["place"] = jnp.where(positive, same_captions(stream, positive), jnp.arange(len(positive)))
        if self.form == "mil_nce":
            b, has = self._candidates(heads, right, features, stream, b, valid)
            loss = mil_nce(a, b, valid, has, scale, **shared, direction=direction)
        elif self.form == "sigmoid":
            loss = sigmoid_contrastive(a, b, valid, scale, heads.offset(place), **shared)
        else:
            loss = softmax_contrastive(a, b, valid, scale, **shared, direction=direction)
        return {
            "loss": loss,
            "chance_loss": chance_loss(valid, self.form, has=has, positive=positive, direction=direction, **same),
            "accuracy": retrieval_accuracy(scale * a, b, valid, has=has, **shared),
            "clips": positive.sum().astype(jnp.float32),
            "temperature": 1 / scale,
        }

    def _candidates(
        self,
        heads: ContrastiveHeads,
        side: Group,
        features: Features,
        stream: TokenStream,
        b: Float[Array, "n d"],
        valid: Bool[Array, " n"],
    ) -> tuple[Float[Array, "n k d"], Bool[Array, "n k"]]:
        """Return the captions of every clip as candidates if the side is text, else its one embedding `b`."""
        if side != ("text",) or heads.captions == 1:
            return b[:, None], valid[:, None]
        slots = stream.clips.clip_index.shape[1]
        pooled, has = pool_captions(heads.poolers["text"], features, slots, heads.captions)
        # [B, E, k, d]: captions of one clip stay together, and the reshape below makes [n, k, d] of B * E = n clips.
        embedded = heads.project("text", pooled)
        return embedded.reshape(-1, heads.captions, embedded.shape[-1]), has.reshape(-1, heads.captions)


class ContrastiveHeads(nnx.Module):
    """A pooler and a projection for each side; a temperature and (for the sigmoid) a bias for each pair.

    Args:
      config: The objective.
      model: Config of the backbone.
      captions: Largest number of captions of a clip that are pooled separately.
    """

    def __init__(self, config: Contrastive, model: ModelConfig, captions: int, *, rngs: nnx.Rngs):
        self.config, self.captions = config, captions
        width = feature_width(model)
        names = [group_name(group) for group in config.groups]
        self.poolers = nnx.Dict({name: make_pooler(config.pooling_of(name), model, rngs=rngs) for name in names})
        made = {name: config.projection_of(name) for name in names if config.projection_of(name) != "none"}
        self.projections = nnx.Dict(
            {
                name: ProjectionHead(width, config.width, norm=kind == "normed", bias=kind != "matrix", rngs=rngs)
                for name, kind in made.items()
            }
        )
        if config.learned:
            # One logarithm a pair: exp keeps it positive, and a step of the optimizer multiplies it by a factor.
            self.log_scale = parameter(jnp.full(len(config.pairs), self._first_log_scale()), "norm")
            if config.form == "sigmoid":
                self.bias = parameter(jnp.full(len(config.pairs), config.bias), "norm")

    def project(self, name: str, pooled: Float[Array, "*batch D"]) -> Float[Array, "*batch d"]:
        """Return the unit embeddings of a side in float32."""
        return self.projections[name](pooled) if name in self.projections else unit(pooled)

    def scale(self, pair: int) -> Float[Array, ""]:
        """Return the factor of the cosines of a pair: one over its temperature."""
        if not self.config.learned:
            return jnp.exp(jnp.float32(self._first_log_scale()))
        return bounded_exp(self.log_scale[...][pair])

    def offset(self, pair: int) -> Float[Array, ""]:
        """Return the bias of the sigmoid's logits of a pair."""
        return self.bias[...][pair] if self.config.learned else jnp.float32(self.config.bias)

    def _first_log_scale(self) -> float:
        usual = 0.1 if self.config.form == "sigmoid" else 0.07
        return -math.log(self.config.temperature or usual)
