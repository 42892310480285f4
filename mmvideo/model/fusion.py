"""Fusion as a list of stages: which modalities see each other in which layers."""

from __future__ import annotations

import dataclasses

from mmvideo.model.config import Fusion
from mmvideo.stream import MODALITIES

Groups = tuple[tuple[str, ...], ...]

APART: Groups = tuple((name,) for name in MODALITIES)
"""Every modality keeps to itself."""

MEDIA: Groups = (("video", "audio"), ("text",))
"""Video and sound see each other, text keeps to itself."""

TOGETHER: Groups = (MODALITIES,)
"""A clip sees all of itself."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers `first` to `end - 1`, in which the modalities of a group see each other.

    Attributes:
      first, end: the layers.
      groups: a partition of the modalities.
      causal: modalities whose tokens see what stands before them only, and which no other sees.
    """

    first: int
    end: int
    groups: Groups
    causal: tuple[str, ...] = ()


def stages(fusion: Fusion, depth: int) -> tuple[Stage, ...]:
    """The stages of a fusion scheme, in order; together they cover all `depth` layers.

    Args:
      fusion: the scheme. `mid` with `layer` equal to `depth` never lets text in, with 0 it is `early`.
      depth: layers of the model.

    Raises:
      ValueError: layers of `mid` that are not `0 <= media_layer <= layer <= depth`.
    """
    causal = ("text",) if fusion.text == "causal" else ()
    if fusion.scheme == "early":
        return (Stage(0, depth, TOGETHER, causal),)
    if fusion.scheme == "late":
        return (Stage(0, depth, APART, causal),)
    meet = fusion.layer
    media = meet if fusion.media_layer is None else fusion.media_layer
    if not 0 <= media <= meet <= depth:
        raise ValueError(
            f"fusion.layer {meet} and fusion.media_layer {media} must satisfy 0 <= media_layer <= layer <= {depth}, "
            "the depth of the model"
        )
    plan = ((0, media, APART), (media, meet, MEDIA), (meet, depth, TOGETHER))
    return tuple(Stage(first, end, groups, causal) for first, end, groups in plan if first < end)


def outsiders(stage: Stage, modalities: tuple[str, ...], available: tuple[str, ...]) -> tuple[str, ...]:
    """Modalities of the run, besides the asked ones, that the asked ones see in this stage."""
    met = {name for asked in modalities for name in _seen(stage, asked)}
    return tuple(name for name in available if name in met and name not in modalities)


def _seen(stage: Stage, modality: str) -> tuple[str, ...]:
    """The modalities that one modality sees in a stage."""
    group = next(group for group in stage.groups if modality in group)
    return tuple(name for name in group if name not in stage.causal or modality in stage.causal)
