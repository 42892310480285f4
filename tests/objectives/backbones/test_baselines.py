"""Objectives on the baselines: comparison and classification of clips work, prediction of tokens is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, make_stream, random_clip

from mmvideo.model.kinds import CnnLstm, FrameLstm
from mmvideo.objectives import (
    Captioning,
    Classification,
    Contrastive,
    ContrastiveSpans,
    LatentPrediction,
    MaskedPatches,
    MaskedText,
    Synchrony,
)
from mmvideo.objectives.learner import Learner

SIZES = dict(channels=(4,), width=8, word=8, dense=(12, 6), compute="float32")
MODELS = {"cnn_lstm": CnnLstm(**SIZES), "frame_lstm": FrameLstm(**SIZES)}
OBJECTIVES = {
    "contrastive": Contrastive(pairs=("video-text", "audio-text", "video+audio-text"), width=16),
    "label": Classification("shape", 3, ("audio",), after_fusion=True),
    "synchrony": Synchrony(),
}
PREDICTING = [MaskedPatches(), MaskedText(), LatentPrediction(), ContrastiveSpans(), Captioning()]
each = pytest.mark.parametrize("kind", MODELS)


@functools.partial(jax.jit, static_argnums=0)
def differentiate(graph, params, rest, stream):
    def loss(params):
        learner = nnx.merge(graph, params, rest)
        learner.eval()
        return learner.losses(stream)

    return jax.value_and_grad(loss, has_aux=True)(params)


@each
def test_clips_are_compared_and_classified(kind):
    learner = Learner(MODELS[kind], SPEC, OBJECTIVES, rngs=nnx.Rngs(0))
    clips = [random_clip(seed, hide=False) for seed in range(4)]
    clips += [random_clip(4, ("video", "text"), hide=False), random_clip(5, ("audio",), hide=False)]
    labels = {"shape": np.array([0, 1, 2, 1, 0, 2], np.int32)}
    stream = jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3, labels=labels, hidden=()))
    (total, metrics), gradients = differentiate(*nnx.split(learner, nnx.Param, ...), stream)
    assert np.isfinite(total)
    counts = {name: int(value) for name, value in metrics.items() if name.endswith("clips")}
    assert counts == {
        "contrastive/video-text/clips": 5,
        "contrastive/audio-text/clips": 4,
        "contrastive/video+audio-text/clips": 4,
        "label/clips": 5,
        "synchrony/clips": 4,
    }
    # Every clip that counts for the label has sound, so nothing is to be learned of its absence.
    idle = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(gradients) if not np.any(leaf)]
    assert idle == ["['trunk']['absent']['audio'].value"]
    learner.eval()
    features = jax.eval_shape(learner.features, stream)
    assert {name: vector.shape for name, (vector, _) in features.items()} == dict.fromkeys(
        ("video", "audio", "text", "video+audio"), (2, 3, 6)
    )


@each
@pytest.mark.parametrize("objective", PREDICTING, ids=lambda objective: objective.kind)
def test_what_predicts_tokens_is_refused(kind, objective):
    with pytest.raises(ValueError, match=f"objective 'it': {objective.kind} needs .*every token.*model.kind '{kind}'"):
        Learner(MODELS[kind], SPEC, {"it": objective}, rngs=nnx.Rngs(0))
