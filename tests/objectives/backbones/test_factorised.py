"""Objectives on a backbone with one token a time step of video: text and audio are predicted, video is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import VideoEncoder
from mmvideo.objectives import (
    Classification,
    Contrastive,
    ContrastiveSpans,
    LatentPrediction,
    MaskedPatches,
    MaskedText,
    Matching,
)
from mmvideo.objectives.learner import Learner

MODEL = dataclasses.replace(TINY, video_encoder=VideoEncoder(1, "class"))
OBJECTIVES = {
    "contrastive": Contrastive(pairs=("video-text", "video+audio-text"), width=16),
    "label": Classification("shape", 3, ("video",)),
    "masked_text": MaskedText(),
    "masked_patches": MaskedPatches(video=0.0),
    "latent": LatentPrediction(video=0.0),
    "spans": ContrastiveSpans(),
    "matching": Matching(),
}


@pytest.mark.slow(reason="compiles every objective over the space encoder")
def test_all_but_video_is_predicted():
    learner = Learner(MODEL, SPEC, OBJECTIVES, rngs=nnx.Rngs(0))
    clips = [random_clip(seed) for seed in range(4)]
    stream = make_stream(clips, rows=2, slots=3, labels={"shape": np.array([0, 1, 2, 1], np.int32)})
    graph, params, rest = nnx.split(learner, nnx.Param, ...)

    @jax.jit
    def differentiate(params, stream):
        learner = nnx.merge(graph, params, rest)
        learner.eval()
        return learner.losses(stream)

    (_, metrics), gradients = jax.value_and_grad(differentiate, has_aux=True)(params, jax.tree.map(jnp.asarray, stream))
    assert all(np.isfinite(value) for value in metrics.values())
    assert all(metrics[f"{name}/loss"] > 0 for name in OBJECTIVES)
    counted = ("masked_text/tokens", "masked_patches/audio/tokens", "latent/audio/tokens", "spans/audio/tokens")
    assert [int(metrics[name]) for name in counted] == [8] * 4
    idle = [jax.tree_util.keystr(path) for path, leaf in jax.tree.leaves_with_path(gradients) if not np.any(leaf)]
    assert [name for name in idle if "bias" not in name] == []


@pytest.mark.parametrize(
    "objective",
    [MaskedPatches(), LatentPrediction(), ContrastiveSpans(video=1.0)],
    ids=lambda objective: objective.kind,
)
def test_video_is_not(objective):
    with pytest.raises(ValueError, match=f"objective 'it': {objective.kind} .*model.video_encoder.*one token a step"):
        Learner(MODEL, SPEC, {"it": objective}, rngs=nnx.Rngs(0))
