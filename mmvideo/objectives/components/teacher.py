"""Teacher: the moving average of a backbone's parameters, kept beside them from step to step."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.features import Features
from mmvideo.stream import TokenStream


class Average(nnx.Variable):
    """An array that is carried from step to step, without gradient or optimizer.

    It has the metadata `axes` of the parameter that it averages, and is laid out on a mesh in the same way.
    """


class Teacher(nnx.Module):
    """The moving average of a backbone's parameters; a forward pass borrows the rest of the backbone.

    Args:
      backbone: The backbone whose parameters are the first average.
    """

    def __init__(self, backbone: nnx.Module):
        # Copies, because a step gives up the buffers of parameters and variables alike.
        self.parameters = nnx.Dict(
            {
                name: Average(jnp.copy(variable.get_value()), axes=variable.get_metadata().get("axes"))
                for name, variable in _parameters(backbone).items()
            }
        )

    def follow(self, backbone: nnx.Module, decay: Float[Array, ""]) -> None:
        """Update the average by `decay * average + (1 - decay) * parameter`, without a gradient."""
        for name, variable in _parameters(backbone).items():
            # average 1.0, parameter 2.0, decay 0.9: 1.0 + 0.1 * (2.0 - 1.0) = 1.1.
            old = self.parameters[name].get_value()
            new = jax.lax.stop_gradient(variable.get_value())
            self.parameters[name].set_value(old + (1 - decay).astype(old.dtype) * (new - old))

    def __call__(self, backbone: nnx.Module, stream: TokenStream) -> Features:
        """Return the features of a stream under the averaged parameters, without dropout or gradient."""
        graph, parameters, rest = nnx.split(backbone, nnx.Param, ...)
        # Both orders come from the flat state of `nnx.Param`, so the averages line up with the leaves of `parameters`.
        averages = [self.parameters[name].get_value() for name in _parameters(backbone)]
        state = jax.tree.unflatten(jax.tree.structure(parameters), jax.lax.stop_gradient(averages))
        teacher = nnx.merge(graph, state, rest)
        teacher.eval()
        return teacher(stream)


def _parameters(backbone: nnx.Module) -> dict[str, nnx.Param]:
    """Return the parameters of a backbone by dotted name."""
    return {_name(path): variable for path, variable in nnx.to_flat_state(nnx.state(backbone, nnx.Param))}


def _name(path: tuple) -> str:
    return ".".join(map(str, path))
