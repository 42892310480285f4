"""The tensors of a layer that are saved for its gradient, by name; the rest is recomputed in the backward pass.

| tensor | shape | content |
|---|---|---|
| `query_key_value` | `[B, S, 3, N, H]` | the projections to queries, keys and values, before norms and rotation |
| `attended` | `[B, S, N, H]` | the input of attention's output projection, and the residuals of its own gradient |
| `attention_out` | `[B, S, D]` | the output of the attention branch |
| `inner` | `[B, S, F]` | the products of the feed-forward's first matrices, before the activation |
| `feed_forward_out` | `[B, S, D]` | the output of the feed-forward; saved only if a factor or a norm follows it |

The values of `model.remat` form a ladder. A layer's input is always saved. The elements saved per token, for `F = 4 D`:

| `model.remat` | saves | recomputes |
|---|---|---|
| `none` | about 16 D, all that the gradient reads | norms and activations (`basic.rematerialized`) |
| `products` | 9 D: all five | elementwise operations: norms, rotation, activations |
| `dots` | 8 D: all but `attended` | these, and attention |
| `attention` | 5 D: the first three | as `products`, and the feed-forward's first product: a ninth of all |
| `full` | nothing | all but the feed-forward's last product, which no gradient reads: two ninths |

The fractions are of a layer's products with weights in training; `swiglu` has two `inner` tensors. `model.remat_keep`
names tensors to save in addition, and `model.remat_offload` tensors to save in host memory.

If `attended` is saved, attention does not run twice, whichever backend runs it:

- `chunked` and `splash` name their output and the log of their softmax sums.
- `cudnn` and `tokamax` name nothing. All residuals of their kernels are saved instead (`KERNELS`). For cuDNN they are
  the same tensors. An operator of tokamax also passes on its queries, keys and values, so that `attended` alone takes 4
  D; with `query_key_value` it is 4 D as well (7 D with `qk_norm`, whose gradient reads the values before the norm).
- `xla`, the reference, recomputes its weights `[B, N, L, L]`, but not their product with the values.

None of this changes a result beyond rounding: XLA may fuse recomputed operations differently.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

from mmvideo.model.config import KEPT, Model

HOST = "pinned_host"
"""The kind of host memory that a device can read directly."""

KERNELS = frozenset(("dot_product_attention_fwd_wrapper", "remat_opt"))
"""Primitives that are the forward pass of attention with its residuals.

The first is cuDNN's. The second is an operator of tokamax, which JAX names after its definition (`custom_vjp` with
`optimize_remat`).
"""


def named(x: Array, name: str) -> Array:
    """Return `x`, tagged with one of the names above."""
    return checkpoint_name(x, name)


@dataclasses.dataclass(frozen=True)
class Remat:
    """The tensors of a layer to save; callable as a policy of `jax.checkpoint`.

    Attributes:
      keep: names of the tensors that are saved on the device.
      offload: names of the tensors that are saved in host memory and fetched in the backward pass.
    """

    keep: frozenset[str] = frozenset()
    offload: frozenset[str] = frozenset()

    @classmethod
    def of(cls, model: Model) -> Remat | None:
        """Return the policy that a model's config asks for; None: nothing is recomputed.

        Raises:
          ValueError: the devices can't use the host's memory.
        """
        if model.remat == "none":
            return None
        offload = frozenset(model.remat_offload)
        if offload:
            check_offload()
        return cls(frozenset((*KEPT[model.remat], *model.remat_keep)) - offload, offload)

    def __call__(self, primitive: Any, *arguments: Any, **parameters: Any) -> Any:
        """Return JAX's decision for one operation, as its own policies do."""
        # JAX calls the policy for every primitive of the forward pass and asks: save its output, offload or recompute?
        if primitive.name in KERNELS:
            # The kernel names nothing itself: treat its outputs as if they were tagged `attended`.
            primitive, parameters = _naming(), {"name": "attended"}
        policy = jax.checkpoint_policies.save_and_offload_only_these_names(
            names_which_can_be_saved=self.keep,
            names_which_can_be_offloaded=self.offload,
            offload_src="device",
            offload_dst=HOST,
        )
        return policy(primitive, *arguments, **parameters)


@functools.cache
def _naming() -> Any:
    """Return the primitive that tags a tensor with a name."""
    return jax.make_jaxpr(lambda x: named(x, "attended"))(0.0).jaxpr.eqns[0].primitive


def check_offload() -> None:
    """Raise ValueError if a device can't keep arrays in the host's memory."""
    device = jax.devices()[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST not in kinds:
        raise ValueError(
            f"model.remat_offload needs devices that reach the host's memory ({HOST}); {device.device_kind} has "
            f"{', '.join(kinds) or 'none'}: leave it empty"
        )
