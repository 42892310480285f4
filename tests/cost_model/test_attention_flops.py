"""Attention within spans: the formula against the spans themselves, and against rows without padding."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.cost_model.attention_flops import attention_flops, space_flops
from mmvideo.model.config import Fusion, Model, Sharing, VideoEncoder, model_dims
from mmvideo.model.fusion.fusion_stages import stages
from mmvideo.stream import MODALITIES, PatchSpec, StreamSpec, TextSpec, TokenLayout, attention_spans

SPEC = StreamSpec(PatchSpec((1, 4, 4, 3), (2, 3, 3), 0.5), PatchSpec((4, 8), (5, 2, 1), 0.2), TextSpec(40, 6, 4))
TOKENS = {"video": 18, "audio": 10, "text": 6}
SMALL = Model(depth=5, width=24, heads=2, feed_forward=48, attention="xla")


def layout(captions: int) -> TokenLayout:
    """Return one clip with the tokens of `TOKENS`, its text in a number of captions."""
    modality = np.concatenate([np.full(TOKENS[name], kind) for kind, name in enumerate(MODALITIES)])
    caption = np.where(modality == 2, np.cumsum(modality == 2) - 1, 0) // (TOKENS["text"] // captions)
    grid = np.stack([0 * modality, np.where(modality == 2, caption, 0), 0 * modality], axis=-1)
    zeros = jnp.zeros((1, len(modality)), jnp.int32)
    return TokenLayout(zeros, jnp.asarray(modality[None]), zeros, zeros.astype(jnp.float32), jnp.asarray(grid[None]))


@pytest.mark.parametrize("text", ["bidirectional", "causal"])
@pytest.mark.parametrize("captions", [1, 2])
@pytest.mark.parametrize("fusion", [("early",), ("late",), ("mid", 3), ("mid", 4, 2)], ids=str)
def test_pairs_are_those_of_the_spans(fusion, captions, text):
    model = Model(depth=5, width=24, heads=2, feed_forward=48, fusion=Fusion(*fusion, text=text))
    pairs = 0
    for stage in stages(model.fusion, model_dims(model).depth):
        spans = attention_spans(layout(captions), stage.groups, stage.causal)
        pairs += (stage.end - stage.first) * int((spans[..., 1] - spans[..., 0]).sum())
    assert attention_flops(model, TOKENS, captions) == 4 * 24 * pairs


@pytest.mark.parametrize(
    "settings",
    [
        {"fusion": Fusion("late"), "class_tokens": 2, "registers": 1},
        {"fusion": Fusion("bottleneck", 3, bottlenecks=4), "class_tokens": 1},
        {"fusion": Fusion("bottleneck", 3, modalities=("video", "audio"))},
        {"fusion": Fusion("mid", 5), "depths": {"text": 2, "video": 7}},
    ],
    ids=["late", "bottleneck", "two", "depths"],
)
def test_rows_of_one_modality_hold_no_other_pairs(backbone, settings):
    """With no shared weights each modality has a row of its own, and the dense count equals the one within spans."""
    model = Model(
        depth=5, width=24, heads=2, feed_forward=48, attention="xla", sharing=Sharing("nothing", "nothing"), **settings
    )
    _, count = backbone(model, SPEC)
    assert attention_flops(model, TOKENS) == count(TOKENS).activations["trunk"]


def test_a_modality_that_is_not_there_takes_nothing():
    alone = attention_flops(SMALL, {"video": 18, "audio": 0, "text": 0})
    assert alone == attention_flops(SMALL, {"video": 18}) == 4 * 24 * 5 * 18**2


def test_dense_is_no_less(backbone):
    model = Model(depth=5, width=24, heads=2, feed_forward=48, attention="xla", fusion=Fusion("mid", 3), class_tokens=1)
    _, count = backbone(model, SPEC)
    assert jax.device_count() and attention_flops(model, TOKENS) < count(TOKENS).activations["trunk"]


def test_a_step_of_video_sees_itself():
    """Two steps of nine tokens; a class token is one more in each."""
    for pooling, tokens in (("mean", 9), ("class", 10)):
        model = dataclasses.replace(SMALL, video_encoder=VideoEncoder(3, pooling))
        assert space_flops(model, SPEC.video.grid) == 4 * 24 * 3 * 2 * tokens**2
