"""Video-text matching: binary classification of fused pairs, true pairs against hard negatives."""

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
"""Score of a pair that must not be drawn as a negative."""


@dataclasses.dataclass(frozen=True)
class Matching:
    """Classification of pairs as matched or mismatched (ALBEF, Li et al. 2021, section 3.2; VAST's matching).

    For the media of each clip another text is drawn, and for each text other media, from the whole global batch. More
    similar contrastive embeddings are more likely to be drawn. Only the stages in which text and media have met run
    again on the drawn pairs, whose tokens may come from other devices. Tokens that are hidden from the encoder stay
    hidden in all pairs.

    Attributes:
      pair: The two compared sides, as in contrastive learning; one side is text. A clip counts if it has all modalities
        of both. Its other media are carried along.
      negatives: Distribution of the negatives: `hard` is proportional to the softmax of the similarities from a
        contrastive objective of the run with this pair, `uniform` is uniform.
      temperature: Temperature of that softmax.
      pooling: Pooling of the text tokens at the top, which have seen the clip, into one vector.
      weight: Weight of this objective in the total loss.
    """

    pair: str = "video-text"
    negatives: Literal["hard", "uniform"] = "hard"
    temperature: float = 0.07
    pooling: Pooling = "mean"
    weight: float = 1.0
    kind: Literal["matching"] = "matching"

    def __post_init__(self) -> None:
        if ("text",) not in parse_pair(self.pair):
            raise ValueError(f"matching.pair {self.pair!r} must compare media with text, such as video-text")
        if not self.temperature > 0:
            raise ValueError(f"matching.temperature {self.temperature} must be above 0")

    @property
    def media(self) -> Group:
        """The side that is not text."""
        return next(side for side in parse_pair(self.pair) if side != ("text",))

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> MatchingHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run lacks a modality, or text never meets the media.
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
        """Return the binary cross entropy over the true and the drawn pairs, all of equal weight.

        Metrics: `accuracy`; `chance`, the accuracy of the most frequent answer; `chance_loss`, the loss of the best
        constant probability; `clips` that counted; `left_out`, the drawn pairs that did not fit into a row.

        Raises:
          ValueError: Negatives are hard, and no contrastive objective embeds the pair.
        """
        drawn = self.sample_negatives(heads, features, stream)
        own = jnp.arange(drawn.text.size).reshape(drawn.text.shape)
        # Row r of the batch gives rows 2r (own media, drawn text) and 2r + 1 (drawn media, own text). Neighbouring rows
        # stay on the device of row r. A row of clips [0, 1] that draws [1, 0] twice becomes a row that pairs media of 0
        # and 1 with words of 1 and 0, and the reverse of it.
        media, text, wanted = (
            jnp.stack(both, axis=1).reshape(-1, own.shape[1])
            for both in ((own, drawn.media), (drawn.text, own), (drawn.found, drawn.found))
        )
        mismatched, fits = self.score_pairs(heads, features, backbone, media, text, wanted)
        matched = heads(features, own.shape[1])
        odds = jnp.concatenate([matched.reshape(-1), mismatched.reshape(-1)])
        right = jnp.arange(odds.size) < matched.size
        counted = jnp.concatenate([drawn.found.reshape(-1), fits.reshape(-1)])
        # 4 matched and 4 drawn pairs that all fit: share 0.5 and entropy log 2 = 0.69. If 2 drawn pairs do not fit, 4
        # of 6.
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
        """Return `odds`, the log-odds that text and media of a clip match, and `known`, a mask of clips with both."""
        return {"odds": heads(features, stream.clips.clip_index.shape[1]), "known": self._whole(stream)}

    def _whole(self, stream: TokenStream) -> Bool[Array, "B E"]:
        """Return True for the clips that have all modalities of the pair."""
        kinds = [MODALITIES.index(name) for name in (*self.media, "text")]
        return jnp.asarray(stream.clips.present)[..., kinds].all(axis=-1)

    def sample_negatives(self, heads: MatchingHeads, features: Features, stream: TokenStream) -> HardNegatives:
        """Draw a mismatched text and mismatched media for every clip, never from another view of the same clip.

        In training each step draws with a new key; otherwise all batches use the same key.
        """
        number = jnp.asarray(stream.clips.clip_index)
        valid = self._whole(stream).reshape(-1)
        flat = number.reshape(-1)
        # Indices [4, 4, 9], all valid: clip 9 may be paired with either view of clip 4, but these two not with each
        # other.
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
        """Return the log-odds that text and media of two clips match, and a mask of the pairs that fitted into a row.

        Clips are indexed over all rows of the batch as `row * E + slot`; see `re_pair_stream`.
        """
        new = re_pair_stream(features.source, media, text, wanted)
        # Stages before the first fused one do not depend on the pairing, so their features are reused.
        again = backbone.resume(features, new, first_fused_stage(features.stages, features.modalities))
        return heads(again, media.shape[1]), new.fits

    def _similarity(self, features: Features, clips: int) -> Float[Array, "n n"]:
        """Return the logits of the draw: media of the row's clip against text of the column's clip."""
        if self.negatives == "uniform":
            return jnp.zeros((clips, clips), jnp.float32)
        # Cosines mean something only within one space; the main space comes first.
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
    """The drawn pairs: for every clip, the clip that gives the text, the clip that gives the media, and a mask.

    Attributes:
      text: Clip (`row * E + slot`) whose text is paired with the media of this one.
      media: Clip whose media are paired with the text of this one.
      found: False where the batch has no other clip to draw.
    """

    text: Int[Array, "B E"]
    media: Int[Array, "B E"]
    found: Bool[Array, "B E"]


class MatchingHeads(nnx.Module):
    """Pooling, layer norm and a linear map to the log-odds of a match, and the random stream that draws negatives."""

    def __init__(self, pooling: str, model: ModelConfig, *, rngs: nnx.Rngs):
        self.pooler = make_pooler(pooling, model, rngs=rngs)
        self.head = LinearHead(feature_width(model), 1, rngs=rngs)
        self.draws = nnx.RngStream(rngs.params(), tag="matching")
        self.deterministic = False

    def __call__(self, features: Features, slots: int) -> Float[Array, "B E"]:
        """Return the log-odds of every clip from its text at the top; without text they are meaningless."""
        pooled, _ = self.pooler(features, len(features.taps) - 1, ("text",), slots)
        return self.head(pooled)[..., 0]

    def chance(self) -> Array:
        """Return a random key: a new one on each call in training, else a fixed one."""
        return self.draws.key.get_value() if self.deterministic else self.draws()
