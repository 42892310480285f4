"""Requirements of objectives on the run, checked before anything is computed."""

from __future__ import annotations

from typing import Any

from mmvideo.model.config import Model
from mmvideo.model.factory import fusion_stages
from mmvideo.model.fusion.fusion_stages import Stage, leaking_modalities
from mmvideo.model.kinds import ModelConfig
from mmvideo.stream import StreamSpec, Targets, TokenStream


def require_modalities(spec: StreamSpec, modalities: tuple[str, ...], what: str) -> None:
    """Raise ValueError if the run lacks a modality that `what` needs."""
    for name in modalities:
        if name not in spec.modalities:
            raise ValueError(f"{what} needs {name}, which the run does not have: set input.{name}, or leave it out")


def require_targets(stream: TokenStream, modality: str, kind: str) -> Targets:
    """Return the hidden tokens of a modality.

    Raises:
      ValueError: None are ever hidden; the message names the setting.
    """
    if modality not in stream.targets:
        raise ValueError(f"{kind} has no hidden {modality} to predict: set input.masking.{modality} above 0")
    return stream.targets[modality]


def require_tokens(model: ModelConfig, modalities: tuple[str, ...], what: str) -> None:
    """Raise ValueError if the model keeps no features of single tokens of some of these modalities."""
    if not isinstance(model, Model):
        raise ValueError(
            f"{what} needs the features of every token of {' and '.join(modalities)}, but model.kind {model.kind!r} "
            "has one vector a modality: take model.kind transformer, or leave this objective out"
        )
    if model.video_encoder is not None and "video" in modalities:
        raise ValueError(
            f"{what} needs the features of every token of video, but with model.video_encoder the backbone has one "
            f"token a step: leave model.video_encoder out, or video out of {what}"
        )


def require_steps(model: ModelConfig, what: str) -> None:
    """Raise ValueError if the model keeps no features of single time steps of video."""
    if not isinstance(model, Model):
        raise ValueError(
            f"{what} needs the features of every time step of video, but model.kind {model.kind!r} has one vector a "
            "modality: take model.kind transformer, or leave this objective out"
        )


def require_pooling(model: ModelConfig, objective: Any) -> None:
    """Raise ValueError if an objective pools class tokens and the model has none."""
    if getattr(objective, "pooling", "mean") == "class" and not getattr(model, "class_tokens", 0):
        raise ValueError(
            f"{objective.kind}.pooling 'class' needs class tokens: set model.class_tokens to 1 or more (a baseline has "
            "none), or pool by mean or map"
        )


def has_unfused_features(model: ModelConfig, spec: StreamSpec, modalities: tuple[str, ...]) -> bool:
    """Return True if some layer has features of these modalities alone, which `Features.tokens` then returns."""
    return any(not leaking_modalities(stage, modalities, spec.modalities) for stage in fusion_stages(model))


def require_unfused(model: ModelConfig, spec: StreamSpec, modalities: tuple[str, ...], what: str) -> None:
    """Refuse modalities that no layer keeps apart from the others, or that meet only where others are visible.

    Raises:
      ValueError: The message names the visible modalities, and the settings that change it.
    """
    plan = fusion_stages(model)
    # Mid fusion at layer 2 of 4: video is alone in the stage of layers 0 and 1, and sees text in that of layers 2 and
    # 3.
    alone = [stage for stage in plan if not leaking_modalities(stage, modalities, spec.modalities)]
    group = " + ".join(modalities)
    ways = "choose fusion.scheme mid or late, or a higher fusion.layer"
    if not alone:
        others = ", ".join(leaking_modalities(plan[0], modalities, spec.modalities))
        raise ValueError(
            f"{what} uses {group} only, but {others} can be seen from the first layer on: {ways}, or set "
            f"{what}.after_fusion=True if it may use {others} too"
        )
    # Video and audio that stay apart up to a stage in which text joins both have no features of `video+audio` alone.
    later = [stage for stage in plan[plan.index(alone[-1]) + 1 :] if _meets(stage, modalities)]
    if later and not _meets(alone[-1], modalities):
        others = ", ".join(leaking_modalities(later[0], modalities, spec.modalities))
        raise ValueError(
            f"{what} uses {group} together, but they meet only in layers where {others} can be seen: set "
            f"fusion.media_layer below fusion.layer, or fusion.text causal, or set {what}.after_fusion=True if it may "
            f"use {others} too"
        )


def _meets(stage: Stage, modalities: tuple[str, ...]) -> bool:
    """Return True if some of these modalities are visible to each other in a stage."""
    return any(len(set(stage.visible_modalities(name)) & set(modalities)) > 1 for name in modalities)
