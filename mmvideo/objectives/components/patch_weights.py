"""Choice of the patches that an objective predicts: video and audio, each with a weight."""

from __future__ import annotations

from mmvideo.model.kinds import ModelConfig
from mmvideo.model.transformer.decoder import PREDICTED
from mmvideo.objectives.components.requirements import require_tokens
from mmvideo.stream import StreamSpec


class PatchObjective:
    """The shared part of objectives that predict hidden patches: the weights `video` and `audio`; 0 leaves one out."""

    kind: str
    video: float
    audio: float

    def check_weights(self) -> None:
        """Raise ValueError unless the weights are 0 or more, and one is above 0."""
        if min(self.video, self.audio) < 0 or max(self.video, self.audio) == 0:
            raise ValueError(f"{self.kind}.video and .audio are weights: 0 or more, and not both 0")

    def modalities(self, spec: StreamSpec) -> tuple[str, ...]:
        """Return the modalities to predict: those of the run with a weight above 0."""
        return tuple(name for name in PREDICTED if name in spec.modalities and getattr(self, name) > 0)

    def require_patches(self, model: ModelConfig, spec: StreamSpec) -> None:
        """Raise ValueError if the run has no modality to predict, or the model keeps no tokens of one."""
        if not self.modalities(spec):
            wanted = " or ".join(name for name in PREDICTED if getattr(self, name) > 0)
            raise ValueError(f"{self.kind} needs {wanted}, which the run does not have: set input.{wanted.split()[0]}")
        require_tokens(model, self.modalities(spec), self.kind)
