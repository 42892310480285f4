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
    """Layers `first` to `end - 1`, in which the modalities of a group see each other."""

    first: int
    end: int
    groups: Groups


def stages(fusion: Fusion, depth: int) -> tuple[Stage, ...]:
    """The stages of a fusion scheme, in order; together they cover all `depth` layers.

    Args:
      fusion: the scheme. `mid` with `layer` equal to `depth` never lets text in, with 0 it is `early`.
      depth: layers of the model.

    Raises:
      ValueError: layers of `mid` that are not `0 <= media_layer <= layer <= depth`.
    """
    if fusion.scheme == "early":
        return (Stage(0, depth, TOGETHER),)
    if fusion.scheme == "late":
        return (Stage(0, depth, APART),)
    meet = fusion.layer
    media = meet if fusion.media_layer is None else fusion.media_layer
    if not 0 <= media <= meet <= depth:
        raise ValueError(
            f"fusion.layer {meet} and fusion.media_layer {media} must satisfy 0 <= media_layer <= layer <= {depth}, "
            "the depth of the model"
        )
    plan = (Stage(0, media, APART), Stage(media, meet, MEDIA), Stage(meet, depth, TOGETHER))
    return tuple(stage for stage in plan if stage.first < stage.end)


def outsiders(stage: Stage, modalities: tuple[str, ...], available: tuple[str, ...]) -> tuple[str, ...]:
    """Modalities of the run, besides the asked ones, that the asked ones see in this stage."""
    met = {name for group in stage.groups if set(group) & set(modalities) for name in group}
    return tuple(name for name in available if name in met and name not in modalities)
