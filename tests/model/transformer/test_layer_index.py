"""The layer of each parameter: counted from the top for learning rates, from the bottom for freezing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from streams import SPEC, make_clip, make_stream

from mmvideo.model.config import Fusion, Model, Sharing, VideoEncoder
from mmvideo.model.transformer.layer_index import ALL, layers_to_output, num_frozen_rows
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer

SIZES = {"depth": 4, "width": 16, "heads": 2, "feed_forward": 24, "compute": "float32"}
PLAIN = Model(
    **SIZES, fusion=Fusion("bottleneck", 3, modalities=("video", "audio")), class_tokens=1, position="learned"
)
TOWERS = Model(
    **SIZES, fusion=Fusion("mid", 3), sharing=Sharing("nothing", "everything"), depths={"audio": 2, "text": 6}
)
SPACED = Model(**SIZES, fusion=Fusion("late"), video_encoder=VideoEncoder(2), position="learned")


def build(model):
    return MultimodalTransformer(model, SPEC, rngs=nnx.Rngs(0))


def test_layers_are_counted_from_the_top():
    above = layers_to_output(build(PLAIN))
    for name in ("blocks.qkv_kernel", "blocks.up_bias"):
        np.testing.assert_array_equal(above[name], [4, 3, 2, 1])
    assert above["norms.fused.scale"] == 0 and above["norms.apart.scale"] == 1
    for name in ("embed.video.dense.kernel", "embed.text.table", "embed.modality.table", "extra.classes"):
        assert above[name] == 5, name
    assert above["position.tables.video_time"] == 5 and above["extra.bottlenecks"] == 2


def test_a_tower_counts_its_own_layers():
    above = layers_to_output(build(TOWERS))
    np.testing.assert_array_equal(above["blocks.fused.out_kernel"], [1])
    np.testing.assert_array_equal(above["blocks.apart.video.out_kernel"], [4, 3, 2])
    np.testing.assert_array_equal(above["blocks.apart.audio.out_kernel"], [3, 2])
    np.testing.assert_array_equal(above["blocks.apart.text.out_kernel"], [7, 6, 5, 4, 3, 2])
    assert [above[f"embed.{name}"] for name in ("video.dense.bias", "audio.dense.bias", "text.table")] == [5, 4, 8]
    assert above["embed.modality.table"] == 8


def test_a_space_encoder_lies_below_the_trunk():
    above = layers_to_output(build(SPACED))
    np.testing.assert_array_equal(above["space.blocks.up_kernel"], [6, 5])
    assert above["space.norm.scale"] == 4 and above["space.class_token"] == above["space.position.tables.video_y"] == 7
    assert above["embed.video.dense.kernel"] == 7 and above["embed.audio.dense.kernel"] == 5
    assert above["position.tables.video_time"] == 5


def test_rows_are_counted_from_the_bottom():
    below = num_frozen_rows(build(PLAIN), 2)
    assert below["blocks.qkv_kernel"] == 2 and below["norms.apart.scale"] == below["extra.bottlenecks"] == 0
    assert below["embed.video.dense.bias"] == below["extra.classes"] == ALL
    assert num_frozen_rows(build(PLAIN), 4)["extra.bottlenecks"] == ALL
    towers = num_frozen_rows(build(TOWERS), 2)
    counts = {name: towers[f"blocks.apart.{name}.up_bias"] for name in ("video", "audio", "text")}
    assert counts == {"video": 2, "audio": 1, "text": 4} and towers["blocks.fused.up_bias"] == 0
    assert set(num_frozen_rows(build(PLAIN), 0).values()) == {0}


@pytest.mark.parametrize("model", [PLAIN, TOWERS, SPACED], ids=["bottleneck", "towers", "space"])
def test_frozen_layers_change_no_feature_and_stop_the_gradient_at_their_rows(model):
    """With the first two layers frozen their gradient is zero, and that of the rest is unchanged."""
    stream = make_stream([[make_clip(1), make_clip(2, audio=0)], [make_clip(3, text=2)]])
    backbone = build(model)
    graph, params, rest = nnx.split(backbone, nnx.Param, ...)
    backbone.frozen_layers = 2
    frozen = nnx.graphdef(backbone)

    @jax.jit
    def both(params):
        def loss(params, graph):
            features = nnx.merge(graph, params, rest)(stream)
            return (jnp.where(features.layout.is_token[..., None], features.top, 0) ** 3).sum()

        return [jax.value_and_grad(loss)(params, g) for g in (graph, frozen)]

    (plain, grads), (held, stopped) = both(params)
    np.testing.assert_allclose(held, plain, rtol=1e-6)
    below = num_frozen_rows(backbone, 2)
    for (path, one), (_, other) in zip(nnx.to_flat_state(grads), nnx.to_flat_state(stopped), strict=True):
        name, one, other = ".".join(map(str, path)), np.asarray(one.get_value()), np.asarray(other.get_value())
        rows = min(below[name], len(one))
        assert not other[:rows].any(), name
        np.testing.assert_allclose(other[rows:], one[rows:], rtol=1e-4, atol=1e-5, err_msg=name)


def test_norms_of_a_pass_alone_lie_where_their_layers_do():
    """CAV-MAE's second pass through the fused layers, and a norm before the first layer."""
    fusion = Fusion("mid", 2, modalities=("video", "audio"), alone=True)
    model = Model(**SIZES, fusion=fusion, sharing=Sharing("nothing", "everything"), embedding_norm=("video",))
    backbone = build(model)
    above = layers_to_output(backbone)
    np.testing.assert_array_equal(above["alone.video.attention_scale"], [2, 1])
    np.testing.assert_array_equal(above["blocks.fused.attention_scale"], [2, 1])
    assert above["embedding_norm.video.scale"] == above["embed.video.dense.kernel"] == 5
    assert (
        num_frozen_rows(backbone, 3)["alone.audio.feed_forward_bias"]
        == num_frozen_rows(backbone, 3)["blocks.fused.up_bias"]
        == 1
    )
    assert num_frozen_rows(backbone, 2)["alone.audio.feed_forward_bias"] == 0
