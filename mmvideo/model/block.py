"""Pre-norm transformer layers, stacked along a first axis and scanned over it.

A layer is `x + attention(norm(x))`, then `x + feed_forward(norm(x))` (Vaswani et al. 2017; the norm
first as in Xiong et al. 2020, and ViT, Dosovitskiy et al. 2021, eq. 2 and 3). Since all layers are
one stack `[depth, ...]`, the program of a stage is compiled once, however deep it is.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from mmvideo.model.activations import by_rows
from mmvideo.model.attention import attend, attention_weights
from mmvideo.model.config import Dimensions, Model
from mmvideo.model.layers import gelu, layer_norm, parameter, xavier
from mmvideo.model.position import Rotation, rotate

Layer = dict[str, Array]
"""The parameters of one layer, or of several stacked, by name."""

POLICIES = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}
"""What a rematerialised layer keeps: `dots` the results of its projections (not the weights of attention)."""


@dataclasses.dataclass(frozen=True)
class Computing:
    """How layers are computed; it changes no result beyond rounding."""

    attention: str = "auto"
    chunk: int = 512
    remat: str = "none"
    scan: bool = True

    @classmethod
    def of(cls, model: Model) -> Computing:
        """The settings of a model's config."""
        return cls(model.attention, model.chunk, model.remat, model.scan)


class Blocks(nnx.Module):
    """A stack of layers.

    Weights are Xavier-uniform, those that write to the residual stream divided by
    `sqrt(2 depth)`, so that the stream's variance does not grow with depth (GPT-2, Radford et al.
    2019, section 2.3).
    """

    def __init__(self, numbers: Dimensions, *, rngs: nnx.Rngs):
        depth, width, heads, inner = numbers.depth, numbers.width, numbers.heads, numbers.feed_forward
        head, damped = numbers.head, (2 * depth) ** -0.5
        qkv = xavier(rngs, (depth, width, 3, heads, head), width, width)
        out = damped * xavier(rngs, (depth, heads, head, width), width, width)
        up = xavier(rngs, (depth, width, inner), width, inner)
        down = damped * xavier(rngs, (depth, inner, width), inner, width)
        self.attention_scale = parameter(jnp.ones((depth, width)), "layers", "norm")
        self.attention_bias = parameter(jnp.zeros((depth, width)), "layers", "norm")
        self.qkv_kernel = parameter(qkv, "layers", "embed", "qkv", "heads", "head")
        self.qkv_bias = parameter(jnp.zeros((depth, 3, heads, head)), "layers", "qkv", "heads", "head")
        self.out_kernel = parameter(out, "layers", "heads", "head", "embed")
        self.out_bias = parameter(jnp.zeros((depth, width)), "layers", "norm")
        self.feed_forward_scale = parameter(jnp.ones((depth, width)), "layers", "norm")
        self.feed_forward_bias = parameter(jnp.zeros((depth, width)), "layers", "norm")
        self.up_kernel = parameter(up, "layers", "embed", "mlp")
        self.up_bias = parameter(jnp.zeros((depth, inner)), "layers", "mlp")
        self.down_kernel = parameter(down, "layers", "mlp", "embed")
        self.down_bias = parameter(jnp.zeros((depth, width)), "layers", "norm")

    def layers(self, first: int, end: int) -> Layer:
        """The parameters of layers `first` to `end - 1`, stacked."""
        return {name: value[first:end] for name, value in nnx.to_pure_dict(nnx.state(self, nnx.Param)).items()}


def run_layers(
    x: Float[Array, "B L D"],
    layers: Layer,
    spans: Int[Array, "B L 2"],
    rotation: Rotation | None,
    computing: Computing,
) -> Float[Array, "B L D"]:
    """Runs stacked layers one after the other, all with the same spans."""

    def body(x: Array, layer: Layer) -> tuple[Array, None]:
        return by_rows(apply_layer(x, layer, spans, rotation, computing)), None

    if computing.remat != "none":
        # Within a scan the loop itself keeps XLA from merging the two computations.
        body = jax.checkpoint(body, policy=POLICIES[computing.remat], prevent_cse=not computing.scan)
    if computing.scan:
        return jax.lax.scan(body, x, layers)[0]
    for number in range(layers["out_bias"].shape[0]):
        x, _ = body(x, {name: value[number] for name, value in layers.items()})
    return x


def apply_layer(
    x: Float[Array, "B L D"],
    layer: Layer,
    spans: Int[Array, "B L 2"],
    rotation: Rotation | None,
    computing: Computing,
) -> Float[Array, "B L D"]:
    """One layer, in the dtype of `x`."""
    q, k, v = _queries_keys_values(x, layer, rotation)
    mixed = attend(q, k, v, spans, backend=computing.attention, chunk=computing.chunk)
    x = x + jnp.einsum("blnh,nhd->bld", mixed, layer["out_kernel"].astype(x.dtype)) + layer["out_bias"].astype(x.dtype)
    normed = layer_norm(x, layer["feed_forward_scale"], layer["feed_forward_bias"])
    inner = normed @ layer["up_kernel"].astype(x.dtype) + layer["up_bias"].astype(x.dtype)
    return x + gelu(inner) @ layer["down_kernel"].astype(x.dtype) + layer["down_bias"].astype(x.dtype)


def layer_weights(
    x: Float[Array, "B L D"], layer: Layer, spans: Int[Array, "B L 2"], rotation: Rotation | None
) -> Float[Array, "B N L L"]:
    """The attention weights of one layer for its input `x`, float32, for pictures."""
    q, k, _ = _queries_keys_values(x, layer, rotation)
    return attention_weights(q, k, spans)


def _queries_keys_values(x: Array, layer: Layer, rotation: Rotation | None) -> tuple[Array, Array, Array]:
    """Queries, keys and values `[B, L, N, H]` of the normed input, turned to their positions."""
    normed = layer_norm(x, layer["attention_scale"], layer["attention_bias"])
    # "blcnh" leaves the product in its natural order: no transposition of the largest activation.
    qkv = jnp.einsum("bld,dcnh->blcnh", normed, layer["qkv_kernel"].astype(x.dtype)) + layer["qkv_bias"].astype(x.dtype)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    if rotation is None:
        return q, k, v
    return rotate(q, rotation), rotate(k, rotation), v
