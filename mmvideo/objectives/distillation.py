"""Distillation: the features of a clip are trained towards the embedding of the clip by another model."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.factory import feature_width, make_pooler
from mmvideo.model.features import Features
from mmvideo.model.heads import LinearHead, unit
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import Pooling
from mmvideo.objectives.components.modality_groups import group_name
from mmvideo.objectives.components.requirements import has_unfused_features, require_modalities
from mmvideo.objectives.losses.blockwise import NEG_INF, SideEmbeddings, logsumexp_pairs, sum_pairs
from mmvideo.objectives.losses.masked_mean import mean_where
from mmvideo.stream import MODALITIES, StreamSpec, TokenStream


@dataclasses.dataclass(frozen=True)
class Distillation:
    """Training of pooled features towards the vectors of another model, which `input.embeddings` names.

    Attributes:
      width: Number of elements of the teacher's vector. For `relational`, the number of elements of the student's
        embedding, which may differ.
      modalities: Modalities whose tokens are pooled, from before fusion if some layer has them alone, else from the
        top. A clip counts if it has all of them, the teacher's vector is known, and its audio was not shifted against
        its video where both are pooled.
      teacher: Group of the teacher's vectors, such as `video+audio`. None is the group of `modalities`.
      form: Form of the loss: `cosine` matches the direction of the vector, `mse` the vector itself, and `relational`
        the similarities between clips.
      temperature: Temperature of the student's softmax over cosines, for `relational`.
      teacher_temperature: Temperature of the teacher's softmax. A lower one gives more weight to the nearest clips.
      chunk: Number of clips that all others are compared with at a time, for `relational`, so that memory grows
        linearly with the batch. None compares all at once.
      pooling: Pooling of tokens into one vector: their `mean`, the mean of the `class` tokens, or a learned query that
        attends to them (`map`).
      weight: Weight of this objective in the total loss.
    """

    width: int
    modalities: tuple[str, ...] = ("video",)
    teacher: str | None = None
    form: Literal["cosine", "mse", "relational"] = "cosine"
    temperature: float = 0.1
    teacher_temperature: float = 0.05
    chunk: int | None = None
    pooling: Pooling = "mean"
    weight: float = 1.0
    kind: Literal["distillation"] = "distillation"

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"distillation.width {self.width} must be 1 or more")
        if not self.modalities or not set(self.modalities) <= set(MODALITIES):
            raise ValueError(f"distillation.modalities {self.modalities} must name some of {', '.join(MODALITIES)}")
        if min(self.temperature, self.teacher_temperature) <= 0:
            raise ValueError("distillation.temperature and .teacher_temperature must be above 0")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"distillation.chunk {self.chunk} must be 1 or more, or None")

    @property
    def group(self) -> tuple[str, ...]:
        """The pooled modalities in the order of `MODALITIES`."""
        return tuple(name for name in MODALITIES if name in self.modalities)

    def heads(self, model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> DistillationHeads:
        """Make the heads of this objective; raise ValueError if the run lacks a modality."""
        require_modalities(spec, self.group, "distillation")
        return DistillationHeads(self, model, has_unfused_features(model, spec, self.group), rngs=rngs)

    def loss(
        self, heads: DistillationHeads, features: Features, stream: TokenStream, backbone: nnx.Module
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """Return the mean loss over the clips that count.

        Metrics: `clips` that counted, and their mean `cosine` (not for `relational`).

        Raises:
          ValueError: The stream has no such vectors, or they have another width.
        """
        wanted, known = self._wanted(stream)
        answer, present = heads(features, known.shape[1])
        counted = present & known
        if {"video", "audio"} <= set(self.group):
            # The teacher saw the clip as it is: with shifted audio its joint vector would be a wrong target.
            counted &= stream.clips.aligned
        metrics = {"clips": counted.sum().astype(jnp.float32)}
        if self.form == "relational":
            rows = (x.reshape(-1, x.shape[-1]) for x in (answer, wanted))
            number = jnp.asarray(stream.clips.clip_index).reshape(-1)
            # Temperatures 0.1 and 0.05 are scales 10 and 20: the sharper teacher puts its weight on the nearest clips.
            scales = 1 / self.temperature, 1 / self.teacher_temperature
            return relational(*rows, counted.reshape(-1), *scales, number, chunk=self.chunk), metrics
        cosines = (unit(answer) * unit(wanted)).sum(axis=-1)
        metrics["cosine"] = mean_where(cosines, counted)
        each = 1 - cosines if self.form == "cosine" else jnp.square(answer - wanted).mean(axis=-1)
        return mean_where(each, counted), metrics

    def _wanted(self, stream: TokenStream) -> tuple[Float[Array, "B E d"], Bool[Array, "B E"]]:
        """Return the teacher's vectors, with zeros where they are unknown, and a mask of the known ones."""
        name = self.teacher or group_name(self.group)
        vectors = stream.clips.teacher_embeddings
        if name not in vectors:
            raise ValueError(
                f"distillation needs the teacher's vectors of {name!r}, but there are vectors of "
                f"{', '.join(sorted(vectors)) or 'nothing'}: name their file by input.embeddings, or set "
                "distillation.teacher"
            )
        wanted = jnp.asarray(vectors[name], jnp.float32)
        if self.form != "relational" and wanted.shape[-1] != self.width:
            raise ValueError(f"distillation.width {self.width}: the teacher's vectors have {wanted.shape[-1]} elements")
        # A clip without a vector of the teacher has NaN in its place.
        known = jnp.isfinite(wanted).all(axis=-1)
        return jax.lax.stop_gradient(jnp.where(known[..., None], wanted, 0)), known


class DistillationHeads(nnx.Module):
    """Pooling and a linear map to the width of the teacher."""

    def __init__(self, config: Distillation, model: ModelConfig, apart: bool, *, rngs: nnx.Rngs):
        width = feature_width(model)
        self.group, self.apart = config.group, apart
        self.pooler = make_pooler(config.pooling, model, rngs=rngs)
        self.answer = LinearHead(width, config.width, rngs=rngs)

    def __call__(self, features: Features, slots: int) -> tuple[Float[Array, "B E d"], Bool[Array, "B E"]]:
        """Return the student's vectors in float32, and a mask of the clips that have the whole group."""
        # Early fusion has no features of one group alone: the top is the best there is.
        tap = features.tap(self.group) if self.apart else len(features.taps) - 1
        pooled, present = self.pooler(features, tap, self.group, slots)
        return self.answer(pooled), present


def relational(
    student: Float[Array, "n d"],
    teacher: Float[Array, "n D"],
    valid: Bool[Array, " n"],
    scale: float,
    teacher_scale: float,
    number: Int[Array, " n"] | None = None,
    *,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """Return the divergence between the similarities of clips (CompRess, Koohpayegani et al. 2020, section 3).

    A softmax over the scaled cosines of a clip to all others is a distribution over them. The loss is the
    Kullback-Leibler divergence of the student's distribution from the teacher's.

    Args:
      student: Vectors of any width, which get a gradient.
      teacher: Vectors of any width, without a gradient.
      valid: Mask of the rows that take part.
      scale: Factor of the student's cosines, one over its temperature.
      teacher_scale: Factor of the teacher's cosines, one over its temperature.
      number: Index of the clip of each row; rows of one clip are not compared. None: all rows are different clips.
      chunk: Columns of a block. None takes the whole matrix at once.

    Returns:
      The mean over the rows that have another row to be compared with; 0 if there is none.
    """
    own = unit(student)
    wanted = jax.lax.stop_gradient(unit(teacher))
    place = jnp.arange(len(valid))
    number = place if number is None else number

    def side(*vectors: Array) -> SideEmbeddings:
        return SideEmbeddings(vectors if len(vectors) > 1 else vectors[0], valid, place, number)

    student_sum = logsumexp_pairs(side(scale * own), side(own), chunk)[1]
    teacher_sum = jax.lax.stop_gradient(logsumexp_pairs(side(teacher_scale * wanted), side(wanted), chunk)[1])

    def divergence(sums: tuple[Array, Array], products: tuple[Array, Array], own: Array, other: Array) -> Array:
        # A pair adds p_teacher * (log p_teacher - log p_student), where log p is the product minus the row's log sum.
        student_log, teacher_log = (product - log_sum[:, None] for product, log_sum in zip(products, sums, strict=True))
        return jnp.exp(jnp.where(other, teacher_log, NEG_INF)) * jnp.where(other, teacher_log - student_log, 0)

    total = sum_pairs(
        divergence,
        (student_sum, teacher_sum),
        side(scale * own, teacher_scale * wanted),
        side(own, wanted),
        chunk,
    )
    # An empty sum is about NEG_INF: a row counts if it has another row to be compared with.
    return total / jnp.maximum((teacher_sum > NEG_INF / 2).sum(), 1)
