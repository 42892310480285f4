"""What an objective needs of the run, checked before anything is computed."""

from __future__ import annotations

from mmvideo.model.config import Model, dimensions
from mmvideo.model.fusion import outsiders, stages
from mmvideo.stream import StreamSpec, Targets, TokenStream


def require_modalities(spec: StreamSpec, modalities: tuple[str, ...], what: str) -> None:
    """Raises ValueError if the run lacks a modality that `what` needs."""
    for name in modalities:
        if name not in spec.modalities:
            raise ValueError(f"{what} needs {name}, which the run does not have: set input.{name}, or leave it out")


def require_targets(stream: TokenStream, modality: str, kind: str) -> Targets:
    """What is hidden of a modality.

    Raises:
      ValueError: nothing ever is; the message names the setting.
    """
    if modality not in stream.targets:
        raise ValueError(f"{kind} has no hidden {modality} to predict: set input.masking.{modality} above 0")
    return stream.targets[modality]


def kept_apart(model: Model, spec: StreamSpec, modalities: tuple[str, ...]) -> bool:
    """Whether some layer has features of these modalities alone: `Features.tokens` then gives them."""
    plan = stages(model.fusion, dimensions(model).depth)
    return any(not outsiders(stage, modalities, spec.modalities) for stage in plan)
