"""What classification is to answer: for each clip and class a number in [0, 1], and where it is known."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.stream import Clips


class ClassTargets(NamedTuple):
    """The targets of every clip.

    Attributes:
      value: 1 for a class that the clip has, 0 for one that it has not, a share where clips are mixed.
      known: for which classes of which clips that is known.
      foreign: clips whose class is not below the number of classes.
    """

    value: Float[Array, "B E C"]
    known: Bool[Array, "B E C"]
    foreign: Bool[Array, "B E"]


def class_targets(clips: Clips, label: str, classes: int) -> ClassTargets:
    """The targets of one kind of label.

    A kind of which a clip has one class gives a 1 for that and a 0 for all others. Where another clip
    was mixed in, the target is `share * own + (1 - share) * other` (mixup, Zhang et al. 2018, eq. 1), and
    both must be known. A kind of which a clip may have several classes comes as numbers, of mixed clips
    already mixed, for they are mixed as numbers; one that is not a number is not known.

    Raises:
      ValueError: the stream has no such kind of label, or with another number of classes.
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
        value = share[..., None] * value + (1 - share[..., None]) * other
        known &= other_known | (share == 1)
    return ClassTargets(value, jnp.broadcast_to(known[..., None], value.shape), own >= classes)


def _one_hot(label: Int[Array, "B E"], classes: int) -> tuple[Float[Array, "B E C"], Bool[Array, "B E"]]:
    """A 1 for the class, nothing where there is none of these; and where there is."""
    return jax.nn.one_hot(label, classes, dtype=jnp.float32), (label >= 0) & (label < classes)
