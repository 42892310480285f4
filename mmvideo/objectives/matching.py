"""Video-text matching: which text belongs to which clip, told where both have met, against hard mismatches."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.factory import feature_width, fusion_stages, make_pooler
from mmvideo.model.features import Features
from mmvideo.model.fusion.re_pair import first_fused_stage, re_pair_stream
from mmvideo.model.heads import LinearHead
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import Pooling
from mmvideo.objectives.components.modality_groups import Group, group_name, parse_pair, shared_embedding_space
from mmvideo.objectives.components.requirements import require_modalities, require_tokens
from mmvideo.objectives.losses.masked_mean import binary_cross_entropy, mean_where
from mmvideo.stream import MODALITIES, StreamSpec, TokenStream

NEG_INF = -1e9
"""Score of a mismatch that is not to be drawn."""


@dataclasses.dataclass(frozen=True)
class Matching:
    """Tells clips with their own text from clips with another's (ALBEF, Li et al. 2021, section 3.2; VAST's matching).

    For the media of each clip another text is drawn, and for each text other media, out of the whole
    global batch: the more alike the contrastive embeddings, the likelier. Only the stages in which
    text and media have met run again on these pairs, whose tokens may come from other devices. What
    is hidden from the encoder stays hidden in all pairs alike.

    Attributes:
      pair: what is compared, as in contrastive learning, one side being text. A clip counts if it
        has all of it; whatever other media it has go along.
      negatives: `hard` ones are drawn in proportion to the softmax of the similarities that a
        contrastive objective of the run gives this pair, `uniform` ones alike.
      temperature: of that softmax.
      pooling: how the text tokens at the top, which have seen the clip, become one vector.
      weight: of this objective in the total loss.
    """

    pair: str = "video-text"
    negatives: Literal["hard", "uniform"] = "hard"
    temperature: float = 0.07
    pooling: Pooling = "mean"
    weight: float = 1.0
    kind: Literal["matching"] = "matching"

    def __post_init__(self) -> None:
        if ("text",) not in parse_pair(self.pair):
            raise ValueError(f"matching.pair {self.pair!r} must compare media with text, as video-text")
        if not self.temperature > 0:
            raise ValueError(f"matching.temperature {self.temperature} must be above 0")

    @property
    def media(self) -> Group:
        """The side that is not text."""
        return next(side for side in parse_pair(self.pair) if side != ("text",))

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> MatchingHeads:
        """New heads.

        Raises:
          ValueError: the run lacks a modality, or text never meets the media.
        """
        require_modalities(spec, (*self.media, "text"), "matching")
        require_tokens(model, ("text",), "matching")
        last = fusion_stages(model)[-1]
        if not set(self.media) <= set(last.visible_modalities("text")):
            raise ValueError(
                f"matching: text never sees {group_name(self.media)} with model.fusion.scheme {model.fusion.scheme!r}: "
                f"choose early, or mid with model.fusion.layer below the depth {last.end}"
            )
        return MatchingHeads(self.pooling, model, rngs=rngs)

    def loss(
        self, heads: MatchingHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Binary cross entropy over the pairs that are right and those that were drawn, all of equal weight.

        Metrics: `accuracy`; `chance` and `chance_loss`, of answering all pairs with what most are and
        with how many are; `clips` that counted; `left_out`, drawn pairs for which a row had no room.

        Raises:
          ValueError: hard negatives without a contrastive objective that embeds the pair.
        """
        drawn = self.sample_negatives(heads, features, stream)
        own = jnp.arange(drawn.text.size).reshape(drawn.text.shape)
        # The two pairs of a clip stand in neighbouring rows, which stay on its device.
        media, text, wanted = (
            jnp.stack(both, axis=1).reshape(-1, own.shape[1])
            for both in ((own, drawn.media), (drawn.text, own), (drawn.found, drawn.found))
        )
        mismatched, fits = self.score_pairs(heads, features, backbone, media, text, wanted)
        matched = heads(features, own.shape[1])
        odds = jnp.concatenate([matched.reshape(-1), mismatched.reshape(-1)])
        right = jnp.arange(odds.size) < matched.size
        counted = jnp.concatenate([drawn.found.reshape(-1), fits.reshape(-1)])
        share = mean_where(right.astype(jnp.float32), counted)
        entropy = -jax.scipy.special.xlogy(share, share) - jax.scipy.special.xlog1py(1 - share, -share)
        loss = mean_where(binary_cross_entropy(odds, right), counted)
        return loss, {
            "accuracy": mean_where(((odds > 0) == right).astype(jnp.float32), counted),
            "chance": jnp.where(counted.any(), jnp.maximum(share, 1 - share), 0),
            "chance_loss": jnp.where(counted.any(), entropy, 0),
            "clips": drawn.found.sum().astype(jnp.float32),
            "left_out": (wanted & ~fits).sum().astype(jnp.float32),
        }

    def predict(
        self, heads: MatchingHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> dict[str, Array]:
        """`odds`, the log-odds that a clip's text belongs to its media, and `known`, where it has both; `[B, E]`."""
        return {"odds": heads(features, stream.clips.clip_index.shape[1]), "known": self._whole(stream)}

    def _whole(self, stream: TokenStream) -> Bool[Array, "B E"]:
        """Which clips have all that is compared."""
        kinds = [MODALITIES.index(name) for name in (*self.media, "text")]
        return jnp.asarray(stream.clips.present)[..., kinds].all(axis=-1)

    def sample_negatives(self, heads: MatchingHeads, features: Features, stream: TokenStream) -> HardNegatives:
        """A mismatch for each side of every clip; never itself, nor another view of the same clip.

        In training each step draws anew; otherwise every batch with the same chance.
        """
        number = jnp.asarray(stream.clips.clip_index)
        valid = self._whole(stream).reshape(-1)
        flat = number.reshape(-1)
        allowed = valid[:, None] & valid & (flat[:, None] != flat)
        score = jnp.where(allowed, self._similarity(features, flat.size), NEG_INF)
        for_media, for_text = jax.random.split(heads.chance())
        return HardNegatives(
            text=jax.random.categorical(for_media, score, axis=1).reshape(number.shape),
            media=jax.random.categorical(for_text, score.T, axis=1).reshape(number.shape),
            found=allowed.any(axis=1).reshape(number.shape),
        )

    def score_pairs(
        self,
        heads: MatchingHeads,
        features: Features,
        backbone: nnx.Module,
        media: Int[Array, "R E"],
        text: Int[Array, "R E"],
        wanted: Bool[Array, "R E"],
    ) -> tuple[Float[Array, "R E"], Bool[Array, "R E"]]:
        """Log-odds that the text of one clip belongs to the media of another, and for which pairs there was room.

        Clips are counted through all rows of the batch, `row * E + slot`; see `re_pair_stream`.
        """
        new = re_pair_stream(features.source, media, text, wanted)
        again = backbone.resume(features, new, first_fused_stage(features.stages, features.modalities))
        return heads(again, media.shape[1]), new.fits

    def _similarity(self, features: Features, clips: int) -> Float[Array, "n n"]:
        """What the chance of a mismatch goes by: media of the clip of the row, text of that of the column."""
        if self.negatives == "uniform":
            return jnp.zeros((clips, clips), jnp.float32)
        sides = shared_embedding_space(features.embedded, [group_name(self.media), "text"])
        if sides is None:
            raise ValueError(
                f"matching draws hard negatives by the contrastive similarity of {group_name(self.media)} and text, "
                f"but the run has none: add a contrastive objective with the pair {self.pair}, or set negatives to "
                "uniform"
            )
        left, right = (features.embedded[side][0].reshape(clips, -1) for side in sides)
        return jax.lax.stop_gradient(left @ right.T / self.temperature)


class HardNegatives(NamedTuple):
    """For every clip the clip whose text, and the one whose media, it is paired with; and whether there is any."""

    text: Int[Array, "B E"]
    media: Int[Array, "B E"]
    found: Bool[Array, "B E"]


class MatchingHeads(nnx.Module):
    """Pooling, layer norm and one number: the log-odds of a match. And the stream of chance that draws mismatches."""

    def __init__(self, pooling: str, model: ModelConfig, *, rngs: nnx.Rngs):
        self.pooler = make_pooler(pooling, model, rngs=rngs)
        self.head = LinearHead(feature_width(model), 1, rngs=rngs)
        self.draws = nnx.RngStream(rngs.params(), tag="matching")
        self.deterministic = False

    def __call__(self, features: Features, slots: int) -> Float[Array, "B E"]:
        """Log-odds for every clip from its text at the top; without text they mean nothing."""
        pooled, _ = self.pooler(features, len(features.taps) - 1, ("text",), slots)
        return self.head(pooled)[..., 0]

    def chance(self) -> Array:
        """A random key: in training another one each time."""
        return self.draws.key.get_value() if self.deterministic else self.draws()
