"""Trained part of the parameters, and the learning rate of each.

Gradient and optimiser see only the trained part. A frozen parameter needs no backward pass below it and no moments, and
no weight decay acts on it. Of stacked layers `[n, …]` the first may be frozen: the trained part then holds the rows
after them.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.traverse_util import flatten_dict, unflatten_dict

from mmvideo.model.layers.low_rank import LORA
from mmvideo.model.transformer.layer_index import ALL, layers_to_output, num_frozen_rows
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.training.config import Training, Tuning

TRUNK, HEADS = "trunk.", "heads."
"""Prefixes of a learner's parameter names; a parameter with neither is always trained, at the full rate."""


@dataclasses.dataclass(frozen=True)
class TrainableParams:
    """Trained part of the parameters.

    Attributes:
      shapes: shapes of all parameters, by dotted name.
      frozen: number of frozen rows along the first axis, by dotted name of each frozen parameter; a number beyond the
        axis freezes all rows.
      rates: relative learning rates of the trained parameters, nested as in `partition`; None if all are 1.
    """

    shapes: Mapping[str, tuple[int, ...]]
    frozen: Mapping[str, int]
    rates: Any = None

    def partition(self, params: Any) -> Any:
        """Return the trained parameters: nested dicts without frozen parameters, and stacks without their frozen
        layers."""
        # Slicing off the frozen rows keeps them out of the gradient and the optimiser state.
        kept = self._kept(params)
        return unflatten_dict({path: value[rows:] if rows else value for path, (value, rows) in kept.items()})

    def filter(self, tree: Any) -> Any:
        """Return the entries of a tree, such as one of shardings, that belong to trained parameters."""
        return unflatten_dict({path: value for path, (value, _) in self._kept(tree).items()})

    def merge(self, params: Any, trained: Any) -> Any:
        """Return all parameters, with the trained ones replaced by `trained`."""
        flat = dict(flatten_dict(params))
        for path, value in flatten_dict(trained).items():
            rows = self.frozen.get(_name(path), 0)
            # A stack [4, …] with 1 frozen row: the 3 trained rows replace rows 1 to 4.
            flat[path] = jax.lax.dynamic_update_slice_in_dim(flat[path], value, rows, 0) if rows else value
        return unflatten_dict(flat)

    def is_frozen(self, name: str) -> bool:
        """Return whether a parameter is completely frozen."""
        return name in self.frozen and self._rows(name) == (self.shapes[name] or (1,))[0]

    @property
    def size(self) -> int:
        """Number of trained elements."""
        frozen = (math.prod(self.shapes[name][1:]) * self._rows(name) for name in self.frozen)
        return self.total - sum(frozen)

    @property
    def total(self) -> int:
        """Number of elements of all parameters."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def _rows(self, name: str) -> int:
        """Return the number of frozen rows of a parameter; a scalar has one row."""
        return min(self.frozen.get(name, 0), (self.shapes[name] or (1,))[0])

    def _kept(self, tree: Any) -> dict[tuple, tuple[Any, int]]:
        """Return the leaves of a tree that are trained, each with its number of frozen rows."""
        leaves = ((path, _name(path), value) for path, value in flatten_dict(tree).items())
        return {path: (value, self.frozen.get(name, 0)) for path, name, value in leaves if not self.is_frozen(name)}


def trainable_params(learner: nnx.Module, config: Training) -> TrainableParams:
    """Return the trained part of a learner's parameters; the learner may be abstract.

    Raises:
      ValueError: a pattern matches no parameter, the model has fewer layers than are frozen, or nothing is left to
        train.
    """
    state = nnx.to_flat_state(nnx.state(learner, nnx.Param))
    shapes = {".".join(map(str, path)): variable.get_value().shape for path, variable in state}
    frozen = _frozen(learner, list(shapes), config.tune)
    found = TrainableParams(shapes, {name: rows for name, rows in frozen.items() if rows})
    if all(found.is_frozen(name) for name in shapes):
        raise ValueError("training.tune freezes every parameter: nothing is left to train")
    return dataclasses.replace(found, rates=_rates(learner, found, config))


def matching(names: Sequence[str], patterns: Sequence[str], setting: str) -> set[str]:
    """Return the names that match any pattern.

    Raises:
      ValueError: a pattern matches no name.
    """
    found: set[str] = set()
    for pattern in patterns:
        own = {name for name in names if fnmatch.fnmatchcase(name, pattern)}
        if not own:
            raise ValueError(f"{setting}: no parameter matches '{pattern}'; names are such as {names[0]}")
        found |= own
    return found


def _frozen(learner: nnx.Module, names: list[str], tune: Tuning) -> dict[str, int]:
    """Return the number of frozen rows of each parameter."""
    rows = dict.fromkeys(names, 0)
    if tune.freeze_layers:
        backbone = _layered(learner, "training.tune.freeze_layers")
        if tune.freeze_layers > backbone.stages[-1].end:
            raise ValueError(
                f"training.tune.freeze_layers {tune.freeze_layers}: the model has {backbone.stages[-1].end} layers"
            )
        rows |= {TRUNK + name: count for name, count in num_frozen_rows(backbone, tune.freeze_layers).items()}
    if tune.mode != "full":
        thawed = matching(names, tune.thaw, "training.tune.thaw")
        rows |= {
            name: ALL for name in names if name.startswith(TRUNK) and name not in thawed and not _adapts(name, tune)
        }
    return rows | dict.fromkeys(matching(names, tune.freeze, "training.tune.freeze"), ALL)


def _adapts(name: str, tune: Tuning) -> bool:
    """Return whether a trunk parameter is a low-rank update that is trained."""
    return tune.mode == "lora" and LORA in name.split(".")


def _layered(learner: nnx.Module, setting: str) -> MultimodalTransformer:
    """Return the trunk, which must consist of layers."""
    backbone = getattr(learner, "trunk", None)
    if not isinstance(backbone, MultimodalTransformer):
        raise ValueError(f"{setting} counts layers, which only the transformer has: leave it out")
    return backbone


def _rates(learner: nnx.Module, portion: TrainableParams, config: Training) -> Any:
    """Return the relative learning rates of the trained parameters: a number each, or a column of them for stacked
    layers."""
    decay, heads = config.optimizer.layer_decay, config.optimizer.head_rate
    if decay == heads == 1:
        return None
    rates = {name: heads if name.startswith(HEADS) else 1.0 for name in portion.shapes}
    if decay != 1:
        backbone = _layered(learner, "optimizer.layer_decay")
        rates |= {TRUNK + name: float(decay) ** above for name, above in layers_to_output(backbone).items()}

    def rate(name: str) -> Any:
        if np.ndim(rates[name]) == 0:
            return float(rates[name])
        # Rates of 4 stacked layers with 1 frozen row: rates 1 to 3 remain, shaped [3, 1, …] to multiply the updates.
        column = np.asarray(rates[name], np.float32)[portion.frozen.get(name, 0) :]
        return column.reshape(-1, *[1] * (len(portion.shapes[name]) - 1))

    params = nnx.to_pure_dict(nnx.state(learner, nnx.Param))
    return unflatten_dict({path: rate(_name(path)) for path in flatten_dict(portion.filter(params))})


def _name(path: tuple) -> str:
    return ".".join(map(str, path))
