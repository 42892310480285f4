"""What a layer keeps for its gradient, by the names of its tensors; the rest is computed again in the backward pass.

| tensor | shape | what it is |
|---|---|---|
| `query_key_value` | `[B, S, 3, N, H]` | the projections to queries, keys and values, before norms and rotation |
| `attended` | `[B, S, N, H]` | what attention gives to its output projection, and what its own gradient needs beside |
| `attention_out` | `[B, S, D]` | what attention adds to the stream |
| `inner` | `[B, S, F]` | the products of the feed-forward's first matrices, before the activation |
| `feed_forward_out` | `[B, S, D]` | what the feed-forward adds; kept only where a factor or a norm stands behind it |

`model.remat` is a ladder. A layer's input is always kept; beside it, in numbers a token where `F` is `4 D`:

| `model.remat` | keeps | computed again |
|---|---|---|
| `none` | about 16 D, all that the gradient reads | norms and activations (`basic.rematerialized`) |
| `products` | 9 D: all five | what works on single numbers: norms, rotation, activations |
| `dots` | 8 D: all but `attended` | that, and attention |
| `attention` | 5 D: the first three | that of `products`, and the feed-forward's first product: a ninth of all |
| `full` | nothing | all but the feed-forward's last product, which no gradient reads: two ninths |

Those are shares of a layer's products with weights in training; with `swiglu` there are two of `inner`. What
`model.remat_keep` names is kept beside, and what `model.remat_offload` names in the host's memory.

With `attended` kept attention does not run twice, whichever backend runs it:

- `chunked` and `splash` name what they give and the log of the sums of their softmax;
- `cudnn` and `tokamax` name nothing. Of them all is kept that the kernel hands to its gradient (`KERNELS`). For cuDNN
  that is the same; an operator of tokamax hands on its queries, keys and values too, so that `attended` alone takes
  4 D. With `query_key_value` it is 4 D as well (7 D with `qk_norm`, whose gradient reads what was not yet normed);
- `xla`, the reference, computes its weights `[B, N, L, L]` again, but not their product with the values.

Nothing of this changes a result but by rounding: XLA may fuse what it computes again in other ways.
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
"""The kind of memory that a device can fetch from by itself."""

KERNELS = frozenset(("dot_product_attention_fwd_wrapper", "remat_opt"))
"""Primitives that are the forward pass of attention with what its gradient needs: cuDNN's, and that of an operator of
tokamax, which JAX calls by the way in which it was defined (`custom_vjp` with `optimize_remat`)."""


def named(x: Array, name: str) -> Array:
    """`x`, called by one of the names above."""
    return checkpoint_name(x, name)


@dataclasses.dataclass(frozen=True)
class Remat:
    """What of a layer is kept; as a policy of `jax.checkpoint` it says so for each operation.

    Attributes:
      keep: names of the tensors that are kept where they are.
      offload: of those that are kept in the host's memory, and fetched in the backward pass.
    """

    keep: frozenset[str] = frozenset()
    offload: frozenset[str] = frozenset()

    @classmethod
    def of(cls, model: Model) -> Remat | None:
        """As a model's config asks; None: nothing is computed again.

        Raises:
          ValueError: the devices have no such memory of the host's.
        """
        if model.remat == "none":
            return None
        offload = frozenset(model.remat_offload)
        if offload:
            check_offload()
        return cls(frozenset((*KEPT[model.remat], *model.remat_keep)) - offload, offload)

    def __call__(self, primitive: Any, *arguments: Any, **parameters: Any) -> Any:
        """JAX's question, answered as its own policies do."""
        if primitive.name in KERNELS:
            # As if all that it gives were named.
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
    """The primitive that gives a name."""
    return jax.make_jaxpr(lambda x: named(x, "attended"))(0.0).jaxpr.eqns[0].primitive


def check_offload() -> None:
    """Raises ValueError where a device can't keep arrays in the host's memory."""
    device = jax.devices()[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST not in kinds:
        raise ValueError(
            f"model.remat_offload needs devices that reach the host's memory ({HOST}); {device.device_kind} has "
            f"{', '.join(kinds) or 'none'}: leave it empty"
        )
