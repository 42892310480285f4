"""Captioning: each piece of a caption is predicted from the pieces before it and from what is seen and heard."""

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
    """Predicts captions piece by piece, all at once: text is causal (CoCa, Yu et al. 2022, eq. 3).

    It shares the forward pass with contrastive learning, which takes text where it is still apart.
    Of several captions of a clip the first counts: the others see it, and would learn to repeat it.
    Where captions are `question <answer> answer`, only the answer is to be predicted, from clip and question
    (`answers`); a clip without the mark then has no part.

    Attributes:
      media: what is told in words: a clip counts if it has text and all modalities of one of these,
        as `video`, or `video+audio`. Whatever else the clip has is seen as well.
      smoothing: share of the target that is spread over the whole vocabulary.
      answers: whether the pieces up to the mark `<answer>` are given, not predicted.
      weight: of this objective in the total loss.
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
            raise ValueError("captioning.media is empty: name what a caption tells of, such as video")
        for group in self.groups:
            if not set(group) <= set(MODALITIES[:-1]) or len(set(group)) < len(group):
                raise ValueError(f"captioning.media {self.media} must name video, audio, or video+audio")

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """`media` as groups of modalities."""
        return tuple(tuple(name.split("+")) for name in self.media)

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> CaptioningHeads:
        """New heads.

        Raises:
          ValueError: the run has no text or none of the media, the model keeps no tokens of text, text is
            not causal, or it never sees the media; or it has no mark before answers.
        """
        require_modalities(spec, ("text",), "captioning")
        require_tokens(model, ("text",), "captioning")
        if self.answers and spec.text.answer_id == PADDING:
            raise ValueError(
                "captioning.answers: the tokenizer has no piece <answer>; write captions as `question <answer> answer` "
                "and build the tokenizer anew"
            )
        available = [group for group in self.groups if set(group) <= set(spec.modalities)]
        if not available:
            raise ValueError(f"captioning.media {self.media}: the run has only {', '.join(spec.modalities)}")
        if model.fusion.text != "causal":
            raise ValueError(
                "captioning predicts each piece from those before it, but with model.fusion.text "
                f"{model.fusion.text!r} a piece sees those behind it too: set model.fusion.text to causal"
            )
        last = fusion_stages(model)[-1]
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
        """Cross entropy of the next piece, the mean over all pieces of the batch that have one before them.

        Metrics: `accuracy`; `chance_loss`, that of guessing among all pieces; `tokens` and `clips` that counted.
        """
        mark = heads.spec.answer_id if self.answers else None
        place, text_tokens, clip = self.next_tokens(stream, mark)
        place = gather_target_features(features, place)
        counted = place != PADDING
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
        """For the text tokens of each row, in order: their place, the piece that follows, and the slot of their clip.

        The place is `PADDING` where no piece follows or the clip doesn't count, and in front of the `mark` if there
        is one.
        """
        stream = jax.tree.map(jnp.asarray, stream)
        layout, text_tokens = stream.layout, original_text_ids(stream)
        slots = jnp.clip(layout.source_index - text_offset(stream), 0, text_tokens.shape[1] - 1)
        following = jnp.roll(jnp.take_along_axis(text_tokens, slots, axis=1), -1, axis=1)

        def next_is(values: Array, more: int = 0) -> Bool[Array, "B L"]:
            return jnp.pad(values[:, 1:] == values[:, :-1] + more, ((0, 0), (0, 1)))

        text = layout.modality == Modality.TEXT
        continued = next_is(layout.modality) & next_is(layout.clip) & next_is(layout.grid[..., 2], 1)
        first = (layout.grid[..., 1] == 0) & next_is(layout.grid[..., 1])
        wanted = jnp.take_along_axis(self.told(stream), jnp.maximum(layout.clip, 0), axis=1)
        counted = text & continued & first & wanted
        if mark is not None:
            counted &= answering(stream, mark)
        # The text of a row is but a part of it: logits of a whole vocabulary are made of that part only.
        order = jnp.argsort(~text, axis=1, stable=True)[:, : text_tokens.shape[1]]
        place, piece, clip = (
            jnp.take_along_axis(values, order, axis=1)
            for values in (jnp.where(counted, jnp.arange(text.shape[1]), PADDING), following, layout.clip)
        )
        return place, piece, clip

    def told(self, stream: TokenStream) -> Bool[Array, "B E"]:
        """Which clips have all modalities of one of the media."""
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
        """The texts that the model writes for the clips of a stream; see `generation.generate`.

        A clip gets one if it has all modalities of one of the media, or with `decoding.without_media` in any
        case. With `answers` and no prompt, a clip's own question is its prompt, and one that asks nothing gets none.
        """
        stream = jax.tree.map(jnp.asarray, stream)
        there = stream.clips.clip_index != PADDING
        wanted = there if decoding.without_media else there & self.told(stream)
        if self.answers and prompt is None:
            length = heads.spec.length if decoding.length is None else decoding.length
            prompt = questions(stream, heads.spec.answer_id, length)
            wanted &= prompt.length > 0
        return generate(backbone, heads.logits, heads.spec, stream, wanted, decoding, prompt, key)


class CaptioningHeads(nnx.Module):
    """A linear map of its own from the top features to the vocabulary.

    It is not tied to the table that embeds text: that one is scaled to stand beside embedded patches
    and to be summed into the residual stream, so that as a map to logits it would begin far too
    sharp, and its gradient would mix what a piece means as input with how often it is the answer.
    """

    def __init__(self, width: int, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.spec = spec.text
        self.logits = Linear(width, spec.text.vocabulary, axes=("embed", "vocab"), rngs=rngs)


def smoothed_cross_entropy(
    logits: Float[Array, "*batch V"], wanted: Int[Array, "*batch"], smoothing: float
) -> Float[Array, "*batch"]:
    """Cross entropy with a target of `1 - smoothing` on the wanted class and the rest spread over all (Szegedy et al.
    2016, section 7), without an array of targets as large as the logits."""
    own = jnp.take_along_axis(logits, wanted[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - (1 - smoothing) * own - smoothing * logits.mean(axis=-1)
