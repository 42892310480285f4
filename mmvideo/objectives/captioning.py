"""Captioning objective: each token of a caption is predicted from the tokens before it and from the video and audio."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from mmvideo.model.factory import feature_width, fusion_stages
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import leaking_modalities
from mmvideo.model.fusion.unmask import original_text_ids, text_offset
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.layers.basic import Linear
from mmvideo.objectives.components.requirements import require_modalities, require_tokens
from mmvideo.objectives.generation.config import Decoding
from mmvideo.objectives.generation.questions import answering, questions
from mmvideo.objectives.generation.text_generation import GeneratedText, Prompt, generate
from mmvideo.objectives.losses.masked_mean import clips_with, gather_target_features, gather_targets, mean_where
from mmvideo.stream import MODALITIES, PADDING, Modality, StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class Captioning:
    """Prediction of the tokens of captions, all in one pass with causal text (CoCa, Yu et al. 2022, eq. 3).

    The forward pass is shared with contrastive learning, which takes the text features from before fusion. Only the
    first caption of a clip counts: the later captions see it and would learn to repeat it. Where captions have the form
    `question <answer> answer`, `answers` limits the loss to the answer, given the clip and the question; a clip without
    the mark then takes no part.

    Attributes:
      media: Groups of modalities to caption, such as `video` or `video+audio`. A clip counts if it has text and all
        modalities of one group. Text also sees the other modalities of the clip.
      smoothing: Share of the target that is spread over the whole vocabulary.
      answers: True to give the tokens up to the mark `<answer>`, and predict only those after it.
      weight: Weight of this objective in the total loss.
    """

    media: tuple[str, ...] = ("video", "audio")
    smoothing: float = 0.0
    answers: bool = False
    weight: float = 1.0
    kind: Literal["captioning"] = "captioning"

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"captioning.smoothing {self.smoothing} must be in [0, 1)")
        if not self.media:
            raise ValueError("captioning.media is empty: name the captioned media, such as video")
        for group in self.groups:
            if not set(group) <= set(MODALITIES[:-1]) or len(set(group)) < len(group):
                raise ValueError(f"captioning.media {self.media} must name video, audio, or video+audio")

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The entries of `media` as groups of modalities."""
        return tuple(tuple(name.split("+")) for name in self.media)

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> CaptioningHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run has no text or none of the media, the model keeps no tokens of text, text is not causal or
            never sees the media, or the tokenizer has no mark before answers.
        """
        require_modalities(spec, ("text",), "captioning")
        require_tokens(model, ("text",), "captioning")
        if self.answers and spec.text.answer_id == PADDING:
            raise ValueError(
                "captioning.answers: the tokenizer has no token <answer>; write captions as `question <answer> answer` "
                "and build the tokenizer again"
            )
        available = [group for group in self.groups if set(group) <= set(spec.modalities)]
        if not available:
            raise ValueError(f"captioning.media {self.media}: the run has only {', '.join(spec.modalities)}")
        if model.fusion.text != "causal":
            raise ValueError(
                "captioning predicts each token from those before it, but with model.fusion.text "
                f"{model.fusion.text!r} a token also sees those after it: set model.fusion.text to causal"
            )
        last = fusion_stages(model)[-1]
        # The last stage decides: what text sees there is what the logits can depend on.
        seen = leaking_modalities(last, ("text",), spec.modalities)
        if not any(set(group) <= set(seen) for group in available):
            raise ValueError(
                f"captioning: text never sees {' or '.join(self.media)} with model.fusion.scheme "
                f"{model.fusion.scheme!r}: choose early, or mid with model.fusion.layer below the depth {last.end}"
            )
        return CaptioningHeads(feature_width(model), spec, rngs=rngs)

    def loss(
        self, heads: CaptioningHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the cross entropy of the next token, the mean over all tokens of the batch that follow another.

        Metrics: `accuracy`; `chance_loss`, the loss of guessing uniformly over the vocabulary; `tokens` and `clips`
        that counted.
        """
        mark = heads.spec.answer_id if self.answers else None
        place, text_tokens, clip = self.next_tokens(stream, mark)
        # `next_tokens` counts in rows of the stream; the top features may keep fewer tokens.
        place = gather_target_features(features, place)
        counted = place != PADDING
        # Vocabulary-wide logits exist only for the gathered text tokens: [B, N, V] with N text tokens instead of all L.
        logits = heads.logits(gather_targets(features.top, place))
        loss = mean_where(smoothed_cross_entropy(logits, text_tokens, self.smoothing), counted)
        right = (logits.argmax(axis=-1) == text_tokens).astype(jnp.float32)
        return loss, {
            "accuracy": mean_where(right, counted),
            "chance_loss": jnp.where(counted.any(), math.log(logits.shape[-1]), 0.0).astype(jnp.float32),
            "tokens": counted.sum().astype(jnp.float32),
            "clips": clips_with(jnp.where(counted, clip, PADDING), stream.clips.clip_index.shape[1]),
        }

    def next_tokens(
        self, stream: TokenStream, mark: int | None = None
    ) -> tuple[Int[Array, "B N"], Int[Array, "B N"], Int[Array, "B N"]]:
        """Return, for the text tokens of each row in order, index in the row, next token and clip slot.

        The index is `PADDING` where no token follows or the clip does not count, and before the `mark` if one is given.
        """
        stream = jax.tree.map(jnp.asarray, stream)
        layout = stream.layout
        text_tokens = original_text_ids(stream)
        slots = jnp.clip(layout.source_index - text_offset(stream), 0, text_tokens.shape[1] - 1)
        # Token i is to predict token i + 1: tokens [7, 8, 9] give following [8, 9, 7]. `continued` drops the wrapped 7.
        following = jnp.roll(jnp.take_along_axis(text_tokens, slots, axis=1), -1, axis=1)

        def next_is(values: Array, more: int = 0) -> Bool[Array, "B L"]:
            return jnp.pad(values[:, 1:] == values[:, :-1] + more, ((0, 0), (0, 1)))

        text = layout.modality == Modality.TEXT
        # Packed rows hold texts one after another. A token has a successor only if the next one is text of the same
        # clip, one step later. Clips [0, 0, 1], steps [0, 1, 0]: only the first of the three tokens has a successor.
        continued = next_is(layout.modality) & next_is(layout.clip) & next_is(layout.grid[..., 2], 1)
        # Axis 1 of the grid is the caption: both the token and its successor must belong to caption 0.
        first = (layout.grid[..., 1] == 0) & next_is(layout.grid[..., 1])
        wanted = jnp.take_along_axis(self.has_media(stream), jnp.maximum(layout.clip, 0), axis=1)
        counted = text & continued & first & wanted
        if mark is not None:
            counted &= answering(stream, mark)
        # Text is only a part of each row. Gathering it first limits the vocabulary-wide logits to that part. The sort
        # is stable: with text at [1, 4] of 5 tokens, order is [1, 4, 0, 2, 3], cut to the size of the text array.
        order = jnp.argsort(~text, axis=1, stable=True)[:, : text_tokens.shape[1]]
        place, token_id, clip = (
            jnp.take_along_axis(values, order, axis=1)
            for values in (jnp.where(counted, jnp.arange(text.shape[1]), PADDING), following, layout.clip)
        )
        return place, token_id, clip

    def has_media(self, stream: TokenStream) -> Bool[Array, "B E"]:
        """Return True for the clips that have all modalities of one of the media groups."""
        each = [stream.clips.present[..., [MODALITIES.index(name) for name in group]] for group in self.groups]
        return jnp.stack([has.all(axis=-1) for has in each]).any(axis=0)

    def generate(
        self,
        heads: CaptioningHeads,
        stream: TokenStream,
        backbone: nnx.Module,
        decoding: Decoding = Decoding(),
        prompt: Prompt | None = None,
        key: Key[Array, ""] | None = None,
    ) -> GeneratedText:
        """Generate a text for each clip of a stream; see `generation.text_generation.generate`.

        A clip gets a text if it has all modalities of one of the media groups, or in any case with
        `decoding.without_media`. With `answers` and no prompt, the question of each clip is its prompt, and a clip
        without a question gets no text.
        """
        stream = jax.tree.map(jnp.asarray, stream)
        there = stream.clips.clip_index != PADDING
        wanted = there if decoding.without_media else there & self.has_media(stream)
        if self.answers and prompt is None:
            length = heads.spec.length if decoding.length is None else decoding.length
            prompt = questions(stream, heads.spec.answer_id, length)
            # A question without the mark has a prompt of length 0, and such a clip has nothing to answer.
            wanted &= prompt.length > 0
        return generate(backbone, heads.logits, heads.spec, stream, wanted, decoding, prompt, key)


class CaptioningHeads(nnx.Module):
    """A separate linear map from the top features to the vocabulary.

    The map is not tied to the embedding table of text. That table is scaled to match embedded patches and to be added
    to the residual stream. Used as a map to logits, it would start with far too sharp a softmax, and its gradient would
    mix the meaning of a token as input with its frequency as a target.
    """

    def __init__(self, width: int, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.spec = spec.text
        self.logits = Linear(width, spec.text.vocabulary, axes=("embed", "vocab"), rngs=rngs)


def smoothed_cross_entropy(
    logits: Float[Array, "*batch V"], wanted: Int[Array, "*batch"], smoothing: float
) -> Float[Array, "*batch"]:
    """Return the cross entropy with smoothed targets (Szegedy et al. 2016, section 7).

    The target is `1 - smoothing` on the wanted class, and the rest is spread over all classes. No array of targets as
    large as the logits is made.
    """
    # -sum_c q_c (z_c - lse) with q = (1 - s) onehot + s / V equals lse - (1 - s) z_own - s mean(z).
    own = jnp.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - (1 - smoothing) * own - smoothing * logits.mean(axis=-1)
