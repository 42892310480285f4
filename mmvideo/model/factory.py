"""One entry point for every kind of model: build it, and ask for its feature width, pooler and fusion stages."""

from __future__ import annotations

from flax import nnx

from mmvideo.model.baselines.cnn_lstm import cnn_lstm
from mmvideo.model.baselines.config import CnnLstm
from mmvideo.model.baselines.frame_lstm import frame_lstm
from mmvideo.model.baselines.late_fusion import STAGES
from mmvideo.model.config import AttentionPooling, Model, model_dims
from mmvideo.model.fusion.fusion_stages import Stage, stages
from mmvideo.model.kinds import ModelConfig
from mmvideo.model.pool import Pooler
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import StreamSpec


def build_model(model: ModelConfig, spec: StreamSpec, *, rngs: nnx.Rngs) -> nnx.Module:
    """Build a backbone: a module that maps a `TokenStream` to `Features` and has its `config` and `spec`.

    Args:
      model: settings of any kind of model.
      spec: the modalities of the run.
      rngs: needs the stream `params`; baselines also need `dropout`.

    Raises:
      ValueError: settings that don't fit each other or the modalities.
    """
    if isinstance(model, Model):
        return MultimodalTransformer(model, spec, rngs=rngs)
    if isinstance(model, CnnLstm):
        return cnn_lstm(model, spec, rngs=rngs)
    return frame_lstm(model, spec, rngs=rngs)


def feature_width(model: ModelConfig) -> int:
    """Return the width `D` of the features at every tap; raises ValueError as `model_dims` does."""
    return model_dims(model).width if isinstance(model, Model) else model.dense[-1]


def feature_heads(model: ModelConfig) -> int:
    """Return the number of attention heads over the features (`Pooler`): the backbone's, or one for a baseline."""
    return model_dims(model).heads if isinstance(model, Model) else 1


def make_pooler(kind: str, model: ModelConfig, *, rngs: nnx.Rngs) -> Pooler:
    """Build a `Pooler` of a model's features.

    Args:
      kind: the kind of pooling.
      model: gives width, heads and the settings of attention pooling.
      rngs: needs the stream `params`.

    Raises:
      ValueError: an unknown kind.
    """
    settings = model.attention_pooling if isinstance(model, Model) else AttentionPooling()
    return Pooler(kind, feature_width(model), feature_heads(model), settings, rngs=rngs)


def fusion_stages(model: ModelConfig) -> tuple[Stage, ...]:
    """Return the fusion stage of each tap; raises ValueError as `stages` does."""
    return stages(model.fusion, model_dims(model).depth) if isinstance(model, Model) else STAGES
