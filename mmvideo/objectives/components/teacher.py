"""A teacher: the moving average of a trunk's parameters, carried from step to step beside them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from mmvideo.model.features import Features
from mmvideo.stream import TokenStream


class Average(nnx.Variable):
    """An array that a step hands to the next: no gradient and no optimiser touches it.

    It carries the metadata `axes` of the parameter that it averages, and lies on a mesh as that does.
    """


class Teacher(nnx.Module):
    """The moving average of a trunk's parameters; the rest of the trunk is borrowed when it answers.

    Args:
      backbone: whose parameters are the first average.
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
        """One step: `decay * average + (1 - decay) * parameter`; nothing is differentiated."""
        for name, variable in _parameters(backbone).items():
            old, new = self.parameters[name].get_value(), jax.lax.stop_gradient(variable.get_value())
            self.parameters[name].set_value(old + (1 - decay).astype(old.dtype) * (new - old))

    def __call__(self, backbone: nnx.Module, stream: TokenStream) -> Features:
        """What a trunk with the averaged parameters makes of the stream, without dropout or gradient."""
        graph, parameters, rest = nnx.split(backbone, nnx.Param, ...)
        averages = [self.parameters[name].get_value() for name in _parameters(backbone)]
        state = jax.tree.unflatten(jax.tree.structure(parameters), jax.lax.stop_gradient(averages))
        teacher = nnx.merge(graph, state, rest)
        teacher.eval()
        return teacher(stream)


def _parameters(backbone: nnx.Module) -> dict[str, nnx.Param]:
    """The parameters of a trunk by dotted name."""
    return {_name(path): variable for path, variable in nnx.to_flat_state(nnx.state(backbone, nnx.Param))}


def _name(path: tuple) -> str:
    return ".".join(map(str, path))
