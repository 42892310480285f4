"""Moment retrieval: the times in a video that its text describes."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.factory import feature_width, fusion_stages
from mmvideo.model.features import Features
from mmvideo.model.heads import LinearHead
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import members
from mmvideo.model.transformer.step_pooling import StepLayers, Steps, pool_frames
from mmvideo.objectives.components.requirements import require_modalities, require_steps
from mmvideo.objectives.losses.masked_mean import binary_cross_entropy, mean_where
from mmvideo.objectives.losses.moment_targets import StepTargets, overlap, ranking, step_targets
from mmvideo.objectives.losses.patch_targets import errors
from mmvideo.stream import Clips, StreamSpec, TokenStream

Metrics = dict[str, Float[Array, ""]]
SHARED = 0.5
"""A window finds a moment if their intersection over union is this or more."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """Detection of the moments of a video that its text describes (Moment-DETR, Lei et al. 2021, on QVHighlights).

    Each time step of the video makes its own prediction (UniVTG, Lin et al. 2023, section 3): the probability that it
    lies in a moment, the distances to that moment's start and end, and its saliency. The video must have seen the text.
    A clip counts if it has video and text, and its moments or its saliency are known; the unknown of the two is left
    out.

    Foreground and boundary have equal weights, as in UniVTG's code for QVHighlights; the other weights are this
    project's.

    Attributes:
      layers: Number of convolutions over the steps before the predictions.
      background: Weight of a step outside all moments, relative to one inside.
      boundary: Weight of the smooth L1 error of start and end, as shares of the view's length.
      overlap: Weight of one minus the generalised intersection over union of the predicted and the true moment.
      saliency: Weight of the cross entropy of the saliency.
      ranking: Weight of the contrastive loss between salient steps and less salient ones.
      weight: Weight of this objective in the total loss.
    """

    layers: int = 2
    background: float = 0.1
    boundary: float = 1.0
    overlap: float = 1.0
    saliency: float = 0.1
    ranking: float = 0.1
    weight: float = 1.0
    kind: Literal["moments"] = "moments"

    def __post_init__(self) -> None:
        if self.layers < 0:
            raise ValueError(f"moments.layers {self.layers} must be 0 or more")
        if not self.background > 0:
            raise ValueError(f"moments.background {self.background} must be above 0")
        for name in ("boundary", "overlap", "saliency", "ranking"):
            if getattr(self, name) < 0:
                raise ValueError(f"moments.{name} {getattr(self, name)} is a weight: it must be 0 or more")

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> MomentHeads:
        """Make the heads of this objective.

        Raises:
          ValueError: The run lacks video or text, the model keeps no time steps, or video never sees text.
        """
        require_modalities(spec, ("video", "text"), "moments")
        require_steps(model, "moments")
        last = fusion_stages(model)[-1]
        if "text" not in last.visible_modalities("video"):
            raise ValueError(
                f"moments: video never sees text with model.fusion.scheme {model.fusion.scheme!r} and .text "
                f"{model.fusion.text!r}: choose early, or mid with model.fusion.layer below the depth {last.end}, and "
                "bidirectional text"
            )
        return MomentHeads(self.layers, feature_width(model), spec, rngs=rngs)

    def loss(
        self, heads: MomentHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], Metrics]:
        """Return the weighted sum of the five losses, each a mean over the steps of the batch that it applies to.

        Metrics: each loss without its weight (`foreground_loss`, `boundary_loss`, `overlap_loss`, `saliency_loss`,
        `ranking_loss`); `recall`, the share of clips whose best-scored window finds a moment (R1 at an intersection
        over union of 0.5); `whole_recall`, the recall of predicting the whole view; `clips` that counted;
        `salient_clips`, those of them with known saliency.

        Raises:
          ValueError: The stream has neither moments nor saliency.
        """
        clips = stream.clips
        if clips.moments is None and clips.saliency is None:
            raise ValueError("moments: the corpus has no moments and no saliency: leave this objective out")
        answers = heads(features, clips.clip_index.shape[1])
        targets = step_targets(self._moments(clips), answers.steps)
        # Moments and saliency are known independently: a clip may have either one.
        known = answers.known & targets.known
        windows, found = self._window_losses(answers, targets, known)
        salient, rated = self._saliency_losses(answers, targets, clips)
        losses = windows | salient
        total = losses["foreground"] + self.boundary * losses["boundary"] + self.overlap * losses["overlap"]
        total += self.saliency * losses["saliency"] + self.ranking * losses["ranking"]
        counts = {"clips": known | rated, "salient_clips": rated}
        return total, {
            **{f"{name}_loss": value for name, value in losses.items()},
            **found,
            **{name: counted.sum().astype(jnp.float32) for name, counted in counts.items()},
        }

    def predict(
        self, heads: MomentHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> dict[str, Array]:
        """Return the predictions of every step of the clips; times are in seconds from the start of the view.

        Returns:
          `windows` `[B, E, T, 2]`, start and end within the view; `scores` `[B, E, T]`, the probability that the step
            lies in
          a moment; `saliency` `[B, E, T]` in [0, 1], meaningless if it was not trained; `time` `[B, E, T]`, the middle
            of the
          step; `steps` `[B, E, T]`, a mask of the steps that the clip has; and `known` `[B, E]`, True if it has video
            and text.
        """
        answers = heads(features, stream.clips.clip_index.shape[1])
        return {
            "windows": jnp.clip(answers.windows, 0, answers.steps.length[..., None, None]),
            "scores": jnp.where(answers.steps.present, jax.nn.sigmoid(answers.foreground), 0),
            "saliency": jnp.where(answers.steps.present, jax.nn.sigmoid(answers.saliency), 0),
            "time": answers.steps.time,
            "steps": answers.steps.present,
            "known": answers.known,
        }

    def _moments(self, clips: Clips) -> Float[Array, "B E W 2"]:
        """Return the moments of the clips, or one unknown moment a clip if the corpus has none."""
        if clips.moments is None:
            return jnp.full((*clips.clip_index.shape, 1, 2), jnp.nan)
        return jnp.asarray(clips.moments)

    def _window_losses(
        self, answers: Answers, targets: StepTargets, known: Bool[Array, "B E"]
    ) -> tuple[Metrics, Metrics]:
        """Return the losses of foreground and boundaries, and the recalls."""
        counted = answers.steps.present & known[..., None]
        inside = counted & targets.foreground
        entropy = binary_cross_entropy(answers.foreground, targets.foreground)
        length = answers.steps.length[..., None, None]
        # Steps outside all moments have no target window. Their values are left out by `inside`, but must be finite:
        # a NaN would still reach the gradient.
        answer, wanted = answers.windows / length, targets.window / length
        losses = {
            "foreground": mean_where(entropy * jnp.where(targets.foreground, 1.0, self.background), counted),
            "boundary": mean_where(errors(answer, wanted, "smooth_l1", 1.0), inside),
            "overlap": mean_where(1 - overlap(answer, wanted)[1], inside),
        }
        # argmax over the steps that exist: padded steps have -inf.
        best = jnp.where(answers.steps.present, answers.foreground, -jnp.inf).argmax(axis=-1)[..., None, None]
        window = jnp.take_along_axis(answers.windows, best, axis=-2)
        # The window [0, length], in the shape [B, E, 1, 2] of the best window.
        whole = jnp.stack([jnp.zeros_like(length), length], axis=-1)[..., 0, :]
        there = known & targets.foreground.any(axis=-1)
        found = {
            name: mean_where((overlap(given, targets.moments)[0].max(axis=-1) >= SHARED).astype(jnp.float32), there)
            for name, given in (("recall", window), ("whole_recall", whole))
        }
        return losses, found

    def _saliency_losses(
        self, answers: Answers, targets: StepTargets, clips: Clips
    ) -> tuple[Metrics, Bool[Array, "B E"]]:
        """Return the losses of the saliency, and a mask of the clips with known saliency."""
        if clips.saliency is None:
            return {"saliency": jnp.float32(0), "ranking": jnp.float32(0)}, jnp.zeros_like(answers.known)
        given = jnp.asarray(clips.saliency)
        rated = jnp.isfinite(given)
        rated_clips = answers.known & (rated & answers.steps.present).any(axis=-1)
        # A step outside all moments has saliency 0, even without a rating. Ratings [nan, 0.8, nan] with step 0 outside:
        # the targets are [0, 0.8, -], and step 2 is left out.
        outside = targets.known[..., None] & ~targets.foreground
        counted = rated_clips[..., None] & answers.steps.present & (rated | outside)
        wanted = jnp.where(rated, given, 0)
        entropy = optax.sigmoid_binary_cross_entropy(answers.saliency, wanted)
        losses = {"saliency": mean_where(entropy, counted)}
        losses["ranking"] = mean_where(*ranking(answers.saliency, wanted, counted))
        return losses, rated_clips


class Answers(NamedTuple):
    """Predictions of the heads for every step.

    Attributes:
      foreground: Log-odds that the step lies in a moment.
      windows: Start and end of that moment, in seconds from the start of the view; they enclose the step's middle.
      saliency: Log-odds of the saliency.
      steps: Steps of the clips.
      known: Mask of the clips that have video and text.
    """

    foreground: Float[Array, "B E T"]
    windows: Float[Array, "B E T 2"]
    saliency: Float[Array, "B E T"]
    steps: Steps
    known: Bool[Array, "B E"]


class MomentHeads(nnx.Module):
    """Layers over the steps, and four outputs a step: foreground, distance to start, distance to end, saliency."""

    def __init__(self, layers: int, width: int, spec: StreamSpec, *, rngs: nnx.Rngs):
        self.video = spec.video
        self.layers = StepLayers(width, layers, rngs=rngs)
        self.head = LinearHead(width, 4, rngs=rngs)

    def __call__(self, features: Features, slots: int) -> Answers:
        """Return the predictions; those of steps that a clip does not have are meaningless.

        A distance is a sigmoid times the view's length (UniVTG's code).
        """
        # The vector of a step is the mean of its patch tokens: 12 x 12 patches of a frame give one of width D.
        steps = pool_frames(features.top, features.layout, slots, self.video)
        given = self.head(self.layers(steps.vector, steps.present))
        distance = jax.nn.sigmoid(given[..., 1:3]) * steps.length[..., None, None]
        # Middle 3.0 s and distances (1.0, 2.5) give the window [2.0, 5.5].
        windows = steps.time[..., None] + distance * jnp.array([-1.0, 1.0])
        text = members(features.layout, ("text",), slots)[0].any(axis=-1)
        known = steps.present.any(axis=-1) & text
        return Answers(given[..., 0], windows, given[..., 3], steps, known)
