"""A second pass through the fused layers, in which each modality is alone (CAV-MAE, Gong et al. 2023, section 3.3).

The fused layers, which share their weights, run twice: over all tokens of a clip together, with the layers' own norms,
and over each modality's tokens alone, with norms of that modality. The first pass gives the features of the stage
`fused`. The second replaces the features of the stage `apart`; it is not computed if nothing reads them.
"""

from __future__ import annotations

import dataclasses

from flax import nnx

from mmvideo.model.config import Model, model_dims
from mmvideo.model.fusion.fusion_stages import APART, Stage
from mmvideo.model.transformer.block import PER_MODALITY, SUBMODULES, LayerParams


class AloneNorms(nnx.Module):
    """The norms of the fused layers for each modality alone, `[layers, D]` under the modality's name.

    Args:
      config: the model.
      stages: its stages; the first is `apart` and the second `fused`.
      modalities: those of the run.

    Raises:
      ValueError: another fusion scheme, or layers whose norms the modalities own already.
    """

    def __init__(self, config: Model, stages: tuple[Stage, ...], modalities: tuple[str, ...], *, rngs: nnx.Rngs):
        if [stage.name for stage in stages] != ["apart", "fused"] or config.fusion.scheme != "mid":
            raise ValueError(
                f"model.fusion.alone is for scheme mid with layers below and above fusion.layer {config.fusion.layer} "
                "and without a media_layer of its own"
            )
        if config.sharing.fused != "everything":
            raise ValueError(
                "model.fusion.alone gives each modality norms of its own in its separate pass: set "
                f"model.sharing.fused {config.sharing.fused!r} to everything"
            )
        self.stage = dataclasses.replace(stages[1], groups=APART)
        self.names, dims = modalities, model_dims(config)
        for name in modalities:
            made: dict[str, nnx.Param] = {}
            for submodule in PER_MODALITY["norms"]:
                made |= SUBMODULES[submodule](dims, config.block, self.stage.end - self.stage.first, rngs)
            setattr(self, name, nnx.Dict(made))

    def layers(self, fused: LayerParams) -> LayerParams:
        """Return the fused layers with their norms replaced by those of each modality."""
        own = {name: nnx.to_pure_dict(nnx.state(getattr(self, name), nnx.Param)) for name in self.names}
        replaced = own[self.names[0]]
        # A name at the top level holds for all modalities, so the shared norms must go where each modality has its own.
        return {name: value for name, value in fused.items() if name not in replaced} | own
