"""Fusion as a list of stages: which modalities see each other in which layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

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
      groups: a partition of the modalities, in the order in which they stand within a clip.
      name: `apart`, `media` or `fused`; each stage of a model has another.
      causal: modalities whose tokens see what stands before them only, and which no other sees.
      bottlenecks: tokens through which the `fused` modalities meet, besides what they see.
      fused: those modalities.
      cross: whether the keys and values of a query are made by the weights of its own modality.
    """

    first: int
    end: int
    groups: Groups
    name: str = "fused"
    causal: tuple[str, ...] = ()
    bottlenecks: int = 0
    fused: tuple[str, ...] = ()
    cross: bool = False

    @property
    def order(self) -> tuple[str, ...]:
        """The modalities in the order in which they stand within a clip."""
        return tuple(name for group in self.groups for name in group)

    def mixes(self, modalities: Iterable[str]) -> bool:
        """Whether some of these modalities see each other."""
        return any(len(set(group) & set(modalities)) > 1 for group in self.groups)

    def visible_modalities(self, modality: str) -> tuple[str, ...]:
        """The modalities whose content reaches one, itself included."""
        if self.bottlenecks and modality in self.fused:
            return self.fused
        group = next(group for group in self.groups if modality in group)
        return tuple(name for name in group if name not in self.causal or modality in self.causal)


def stages(fusion: Fusion, depth: int) -> tuple[Stage, ...]:
    """The stages of a fusion scheme, in order; together they cover all `depth` layers.

    Args:
      fusion: the scheme. `mid` with `layer` equal to `depth` never lets text in, with 0 it is `early`.
      depth: layers of the model.

    Raises:
      ValueError: layers that are not `0 <= media_layer <= layer <= depth`, modalities that are not
        two or more, no bottleneck token, or a causal text that has to pass through a bottleneck.
    """
    fused, layer = _fused(fusion), fusion.layer
    together, media = _grouped(fused), layer if fusion.media_layer is None else fusion.media_layer
    if fusion.scheme in ("mid", "bottleneck", "cross") and not 0 <= media <= layer <= depth:
        raise ValueError(
            f"fusion.layer {layer} and fusion.media_layer {media} must satisfy 0 <= media_layer <= layer <= {depth}, "
            "the depth of the model"
        )
    if media < layer and (fusion.scheme != "mid" or not {"video", "audio"} <= set(fused)):
        raise ValueError("fusion.media_layer is for scheme mid, where both video and audio are fused; leave it out")
    causal = ("text",) if fusion.text == "causal" else ()
    if fusion.scheme == "early":
        plan = [Stage(0, depth, together)]
    elif fusion.scheme == "late":
        plan = [Stage(0, depth, APART, "apart")]
    elif fusion.scheme == "bottleneck":
        _check_bottleneck(fusion, fused, causal)
        narrow = Stage(layer, depth, APART, bottlenecks=fusion.bottlenecks, fused=fused)
        plan = [Stage(0, layer, APART, "apart"), narrow]
    else:
        met = Stage(layer, depth, together, cross=fusion.scheme == "cross")
        plan = [Stage(0, media, APART, "apart"), Stage(media, layer, MEDIA, "media"), met]
    return tuple(dataclasses.replace(stage, causal=causal) for stage in plan if stage.first < stage.end)


def _fused(fusion: Fusion) -> tuple[str, ...]:
    """The modalities that meet."""
    wanted = MODALITIES if fusion.modalities is None else fusion.modalities
    if len(set(wanted)) < 2 or not set(wanted) <= set(MODALITIES):
        raise ValueError(f"fusion.modalities {wanted} must name two or more of {', '.join(MODALITIES)}, or be None")
    return tuple(name for name in MODALITIES if name in wanted)


def _grouped(fused: tuple[str, ...]) -> Groups:
    """The fused modalities together, each of the others apart."""
    return tuple(sorted([fused, *((name,) for name in MODALITIES if name not in fused)], key=_first))


def _first(group: tuple[str, ...]) -> int:
    return MODALITIES.index(group[0])


def _check_bottleneck(fusion: Fusion, fused: tuple[str, ...], causal: tuple[str, ...]) -> None:
    if fusion.bottlenecks < 1:
        raise ValueError(f"fusion.bottlenecks is {fusion.bottlenecks}: a bottleneck has 1 token or more")
    if set(causal) & set(fused):
        raise ValueError(
            "fusion.text causal can't be fused by a bottleneck, through which every piece would know of those behind "
            "it: name fusion.modalities without text, or choose mid"
        )


def leaking_modalities(stage: Stage, modalities: tuple[str, ...], available: tuple[str, ...]) -> tuple[str, ...]:
    """Modalities of the run, besides the asked ones, whose content reaches the asked ones in this stage."""
    met = {name for asked in modalities for name in stage.visible_modalities(asked)}
    return tuple(name for name in available if name in met and name not in modalities)
