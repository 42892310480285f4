"""Fusion as a list of stages: the modalities that attend to each other in each range of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from mmvideo.model.config import Fusion
from mmvideo.stream import MODALITIES

Groups = tuple[tuple[str, ...], ...]

APART: Groups = tuple((name,) for name in MODALITIES)
"""Every modality attends only to itself."""

MEDIA: Groups = (("video", "audio"), ("text",))
"""Video and audio attend to each other, text only to itself."""

TOGETHER: Groups = (MODALITIES,)
"""A clip attends to all of itself."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """Layers `first` to `end - 1`, in which the modalities of a group attend to each other.

    Attributes:
      first, end: range of layers.
      groups: a partition of the modalities, in their order within a clip.
      name: `apart`, `media` or `fused`, unique among the stages of a model.
      causal: modalities whose tokens attend to earlier tokens only, and to which no other attends.
      bottlenecks: number of tokens through which the `fused` modalities exchange information, in addition to their
        groups.
      fused: the modalities that share the bottleneck.
      cross: whether the keys and values for a query are computed by the weights of the query's modality.
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
        """The modalities in their order within a clip."""
        return tuple(name for group in self.groups for name in group)

    def mixes(self, modalities: Iterable[str]) -> bool:
        """Return whether some of these modalities attend to each other."""
        return any(len(set(group) & set(modalities)) > 1 for group in self.groups)

    def visible_modalities(self, modality: str) -> tuple[str, ...]:
        """Return the modalities whose content reaches the given one, itself included."""
        if self.bottlenecks and modality in self.fused:
            return self.fused
        group = next(group for group in self.groups if modality in group)
        return tuple(name for name in group if name not in self.causal or modality in self.causal)


def stages(fusion: Fusion, depth: int) -> tuple[Stage, ...]:
    """Return the stages of a fusion scheme, in order; together they cover all `depth` layers.

    Args:
      fusion: the scheme. `mid` with `layer` equal to `depth` never fuses text, with 0 it is `early`.
      depth: layers of the model.

    Raises:
      ValueError: layers that are not `0 <= media_layer <= layer <= depth`, modalities that are not two or more, no
        bottleneck token, or causal text in a bottleneck.
    """
    # Example: mid, depth 12, layer 8, media_layer 4: apart [0, 4), media [4, 8), fused [8, 12). Empty stages are
    # dropped at the end: with media_layer None the stage media is [8, 8).
    fused = _fused(fusion)
    layer = fusion.layer
    together = _grouped(fused)
    media = layer if fusion.media_layer is None else fusion.media_layer
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
    """Return the modalities that are fused."""
    wanted = MODALITIES if fusion.modalities is None else fusion.modalities
    if len(set(wanted)) < 2 or not set(wanted) <= set(MODALITIES):
        raise ValueError(f"fusion.modalities {wanted} must name two or more of {', '.join(MODALITIES)}, or be None")
    return tuple(name for name in MODALITIES if name in wanted)


def _grouped(fused: tuple[str, ...]) -> Groups:
    """Return groups in which the fused modalities are together and each of the rest is alone.

    Example: (video, text) give [(video, text), (audio,)].
    """
    return tuple(sorted([fused, *((name,) for name in MODALITIES if name not in fused)], key=_first))


def _first(group: tuple[str, ...]) -> int:
    return MODALITIES.index(group[0])


def _check_bottleneck(fusion: Fusion, fused: tuple[str, ...], causal: tuple[str, ...]) -> None:
    if fusion.bottlenecks < 1:
        raise ValueError(f"fusion.bottlenecks is {fusion.bottlenecks}: a bottleneck has 1 token or more")
    if set(causal) & set(fused):
        raise ValueError(
            "fusion.text causal can't be fused by a bottleneck, which would show every text token the later ones: "
            "leave text out of fusion.modalities, or choose mid"
        )


def leaking_modalities(stage: Stage, modalities: tuple[str, ...], available: tuple[str, ...]) -> tuple[str, ...]:
    """Return the modalities of the run, other than the given ones, whose content reaches those in this stage."""
    met = {name for asked in modalities for name in stage.visible_modalities(asked)}
    return tuple(name for name in available if name in met and name not in modalities)
