"""Targets of classification: a value in [0, 1] for each clip and class, and a mask of the known ones."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.stream import Clips


class ClassTargets(NamedTuple):
    """The targets of every clip.

    Attributes:
      value: 1 for a class that the clip has, 0 for one that it does not have, a share for mixed clips.
      known: Mask of the known values.
      foreign: Mask of the clips whose class is not below the number of classes.
    """

    value: Float[Array, "B E C"]
    known: Bool[Array, "B E C"]
    foreign: Bool[Array, "B E"]


def class_targets(clips: Clips, label: str, classes: int) -> ClassTargets:
    """Return the targets of one kind of label.

    A kind with one class a clip gives 1 for that class and 0 for all others. Where another clip was mixed in, the
    target is `share * own + (1 - share) * other` (mixup, Zhang et al. 2018, eq. 1), and both must be known. A kind with
    several classes a clip comes as numbers, which mixing has already averaged; NaN is an unknown value.

    Raises:
      ValueError: The stream has no such kind of label, or has it with another number of classes.
    """
    if label in clips.targets:
        given = jnp.asarray(clips.targets[label])
        if given.shape[-1] != classes:
            raise ValueError(
                f"classification.classes {classes} does not fit the corpus, whose {label!r} has {given.shape[-1]} "
                "numbers a clip"
            )
        known = jnp.isfinite(given)
        return ClassTargets(jnp.where(known, given, 0), known, jnp.zeros(given.shape[:-1], jnp.bool_))
    if label not in clips.labels:
        kinds = ", ".join(sorted({*clips.labels, *clips.targets})) or "none"
        raise ValueError(f"classification.label {label!r} is not a kind of label of the corpus: it has {kinds}")
    own = jnp.asarray(clips.labels[label])
    value, known = _one_hot(own, classes)
    if clips.mixed is not None:
        share = jnp.asarray(clips.mixed.share)
        other, other_known = _one_hot(jnp.asarray(clips.mixed.labels[label]), classes)
        # Share 0.7 of class 0 mixed with class 2, of 3 classes: [0.7, 0, 0.3].
        value = share[..., None] * value + (1 - share[..., None]) * other
        # Nothing was mixed in at a share of 1, so the other label does not matter.
        known &= other_known | (share == 1)
    return ClassTargets(value, jnp.broadcast_to(known[..., None], value.shape), own >= classes)


def _one_hot(label: Int[Array, "B E"], classes: int) -> tuple[Float[Array, "B E C"], Bool[Array, "B E"]]:
    """Return the one-hot vector of a class, zeros for a label that is no class, and a mask of the labels that are."""
    return jax.nn.one_hot(label, classes, dtype=jnp.float32), (label >= 0) & (label < classes)
