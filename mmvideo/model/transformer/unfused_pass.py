"""A second pass through the fused layers, in which each modality is by itself (CAV-MAE, Gong et al. 2023, section 3.3).

The layers that the modalities share once they have met are run twice: over all tokens of a clip together, with the
layers' own norms, and over each modality's tokens apart, with norms of that modality. What the first pass gives is the
stage `fused`; what the second gives takes the place of the stage `apart`. Where nothing reads it, it is not computed.
"""

from __future__ import annotations

import dataclasses

from flax import nnx

from mmvideo.model.config import Model, model_dims
from mmvideo.model.fusion.fusion_stages import APART, Stage
from mmvideo.model.transformer.block import PER_MODALITY, SUBMODULES, LayerParams


class AloneNorms(nnx.Module):
    """The norms of the fused layers for each modality by itself, `[layers, D]` under its name.

    Args:
      config: the model.
      stages: its stages, of which the first is `apart` and the second `fused`.
      modalities: those of the run.

    Raises:
      ValueError: another fusion, or layers whose norms the modalities own already.
    """

    def __init__(self, config: Model, stages: tuple[Stage, ...], modalities: tuple[str, ...], *, rngs: nnx.Rngs):
        if [stage.name for stage in stages] != ["apart", "fused"] or config.fusion.scheme != "mid":
            raise ValueError(
                f"model.fusion.alone is for scheme mid with layers below and above fusion.layer {config.fusion.layer} "
                "and without a media_layer of its own"
            )
        if config.sharing.fused != "everything":
            raise ValueError(
                "model.fusion.alone gives each modality norms of its own where it is by itself: set "
                f"model.sharing.fused {config.sharing.fused!r} to everything"
            )
        self.stage = dataclasses.replace(stages[1], groups=APART)
        self.names, dims = modalities, model_dims(config)
        for name in modalities:
            made: dict[str, nnx.Param] = {}
            for piece in PER_MODALITY["norms"]:
                made |= SUBMODULES[piece](dims, config.block, self.stage.end - self.stage.first, rngs)
            setattr(self, name, nnx.Dict(made))

    def layers(self, fused: LayerParams) -> LayerParams:
        """The fused layers with the norms of each modality in place of their own."""
        own = {name: nnx.to_pure_dict(nnx.state(getattr(self, name), nnx.Param)) for name in self.names}
        replaced = own[self.names[0]]
        return {name: value for name, value in fused.items() if name not in replaced} | own
