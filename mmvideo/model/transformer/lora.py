"""Low-rank updates of the matrices of stacked layers (LoRA, Hu et al. 2021, section 4.1).

A matrix `W` becomes `W + (alpha / r) A B`, and only `A` and `B` are trained. `A` starts normal and `B` at zero, so the
model starts unchanged. The product is added to the whole stack once per step, before the layers run: the layers see
plain weights, whatever modalities share and however they are fused.

Letters: `n` stacked layers, `r` the rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from mmvideo.model.layers.basic import normal, parameter
from mmvideo.model.layers.low_rank import LORA, PRODUCTS, adapted
from mmvideo.model.transformer.block import LayerParams, TransformerStack


def add_lora(backbone: nnx.Module, rank: int, alpha: float, targets: Sequence[str], *, rngs: nnx.Rngs) -> None:
    """Add low-rank updates, which change nothing yet, to the layers of a backbone.

    Args:
      backbone: changed in place, in every stack of layers, those of a space encoder included.
      rank: `r`.
      alpha: numerator of the updates' scale `alpha / rank`.
      targets: keys of `PRODUCTS`.
      rngs: needs the stream `params`.

    Raises:
      ValueError: a target that no layer of the backbone has.
    """
    found: set[str] = set()
    for blocks in stacks(backbone):
        factors = _factors(blocks, rank, targets, rngs)
        found |= {path[-1].removesuffix("_a_kernel") for path in flatten_dict(factors)}
        blocks.lora, blocks.lora_scale = _modules(factors), alpha / rank
    if set(targets) - found:
        raise ValueError(
            f"tune.lora.targets: no layer of this model has a matrix {', '.join(sorted(set(targets) - found))}"
        )


def stacks(backbone: nnx.Module) -> list[TransformerStack]:
    """Return every stack of layers in a backbone."""
    return [module for _, module in nnx.iter_graph(backbone) if isinstance(module, TransformerStack)]


def merge_lora(backbone: nnx.Module) -> None:
    """Add the low-rank updates of a backbone to its matrices, and remove the updates."""
    for blocks in stacks(backbone):
        if not hasattr(blocks, LORA):
            continue
        layers = jax.jit(adapted, static_argnums=2)(*_weights(blocks), blocks.lora_scale)
        del blocks.lora
        state = nnx.state(blocks, nnx.Param)
        nnx.replace_by_pure_dict(state, layers)
        nnx.update(blocks, state)


def merged_parameters(parameters: Mapping[str, Any], scale: Callable[[int], float]) -> dict[str, Any]:
    """Return the parameters of a checkpoint with its low-rank updates added to the matrices.

    Args:
      parameters: parameters by dotted name.
      scale: function from a rank `r` to `alpha / r`.

    Returns:
      Parameters by dotted name, without those of updates; unchanged if there are no updates.
    """

    # Names: `trunk.blocks.lora.query_a_kernel` updates `trunk.blocks.qkv_kernel`, its neighbour one level up.
    def merge(tree: Any) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        plain = {name: merge(value) for name, value in tree.items() if name != LORA}
        if LORA not in tree:
            return plain
        factors = jax.tree.map(jnp.asarray, tree[LORA])
        rank = next(value.shape[-1] for path, value in flatten_dict(factors).items() if path[-1].endswith("_a_kernel"))
        return adapted(jax.tree.map(jnp.asarray, plain), factors, scale(rank))

    if not any(f".{LORA}." in name for name in parameters):
        return dict(parameters)
    return flatten_dict(merge(unflatten_dict(parameters, sep=".")), sep=".")


def _weights(blocks: TransformerStack) -> tuple[LayerParams, LayerParams]:
    """Return the weights of a stack without its updates, and the updates."""
    layers = nnx.to_pure_dict(nnx.state(blocks, nnx.Param))
    return layers, layers.pop(LORA)


def _factors(blocks: nnx.Module, rank: int, targets: Sequence[str], rngs: nnx.Rngs) -> dict[str, Any]:
    """Return `A` and `B` of each target that these layers have, as parameters; those of a modality under its name."""
    state = nnx.state(blocks, nnx.Param)
    found = {}
    for target in targets:
        kernel, part, _, entering = PRODUCTS[target]
        if kernel in state:
            found |= _pair(target, state[kernel], part, entering, rank, rngs)
    for owner in getattr(blocks, "owners", ()):
        own = _factors(getattr(blocks, owner), rank, targets, rngs)
        found |= {owner: own} if own else {}
    return found


def _pair(
    target: str, kernel: nnx.Variable, part: int | None, entering: int, rank: int, rngs: nnx.Rngs
) -> dict[str, nnx.Param]:
    """Return `A`, whose output has the scale of its input, and `B`, which is zero; sharded like the kernel."""
    shape, axes = list(kernel.get_value().shape), list(kernel.get_metadata()["axes"])
    if part is not None:
        del shape[2], axes[2]
    # Example: target "query" of qkv_kernel [n, D, 3, N, H]: without the axis of 3 it is [n, D, N, H], with one input
    # axis: A is [n, D, r], B is [n, r, N, H]. out_kernel [n, N, H, D] has two: A is [n, N, H, r], B is [n, r, D].
    end = 1 + entering
    first = normal(rngs, (*shape[:end], rank), math.prod(shape[1:end]) ** -0.5)
    second = jnp.zeros((shape[0], rank, *shape[end:]))
    return {
        f"{target}_a_kernel": parameter(first, *axes[:end], "rank"),
        f"{target}_b_kernel": parameter(second, axes[0], "rank", *axes[end:]),
    }


def _modules(factors: dict[str, Any]) -> nnx.Dict:
    return nnx.Dict({name: _modules(value) if isinstance(value, dict) else value for name, value in factors.items()})
