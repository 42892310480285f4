"""The portion of the parameters that a run trains, and how fast each of them learns.

The gradient is taken of the trained portion alone, and the optimiser knows of no other: what is frozen costs neither a
backward pass below it nor a moment, and no decay pulls on it. Of stacked layers `[n, …]` the first may be frozen: the
portion then holds the rows behind them.
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
"""How the names of a learner's parameters start; one that has neither is always trained, at the full rate."""


@dataclasses.dataclass(frozen=True)
class TrainableParams:
    """What is trained.

    Attributes:
      shapes: of all parameters, by dotted name.
      frozen: of those that are frozen, by dotted name, how many rows along the first axis; all of them where
        there are no more.
      rates: the trained parameters' shares of the learning rate, nested as `partition` nests them; None: all are 1.
    """

    shapes: Mapping[str, tuple[int, ...]]
    frozen: Mapping[str, int]
    rates: Any = None

    def partition(self, params: Any) -> Any:
        """The trained parameters: nested dicts without the frozen ones, stacks without their frozen layers."""
        kept = self._kept(params)
        return unflatten_dict({path: value[rows:] if rows else value for path, (value, rows) in kept.items()})

    def filter(self, tree: Any) -> Any:
        """What belongs to the trained parameters out of a tree like theirs, such as shardings."""
        return unflatten_dict({path: value for path, (value, _) in self._kept(tree).items()})

    def merge(self, params: Any, trained: Any) -> Any:
        """All parameters, the trained ones taken from `trained`."""
        flat = dict(flatten_dict(params))
        for path, value in flatten_dict(trained).items():
            rows = self.frozen.get(_name(path), 0)
            flat[path] = jax.lax.dynamic_update_slice_in_dim(flat[path], value, rows, 0) if rows else value
        return unflatten_dict(flat)

    def is_frozen(self, name: str) -> bool:
        """Whether all of a parameter is frozen."""
        return name in self.frozen and self._rows(name) == (self.shapes[name] or (1,))[0]

    @property
    def size(self) -> int:
        """How many numbers are trained."""
        frozen = (math.prod(self.shapes[name][1:]) * self._rows(name) for name in self.frozen)
        return self.total - sum(frozen)

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def _rows(self, name: str) -> int:
        """How many rows of a parameter are frozen; a single number has one."""
        return min(self.frozen.get(name, 0), (self.shapes[name] or (1,))[0])

    def _kept(self, tree: Any) -> dict[tuple, tuple[Any, int]]:
        """The leaves of a tree that are trained, and how many rows of each are not."""
        leaves = ((path, _name(path), value) for path, value in flatten_dict(tree).items())
        return {path: (value, self.frozen.get(name, 0)) for path, name, value in leaves if not self.is_frozen(name)}


def trainable_params(learner: nnx.Module, config: Training) -> TrainableParams:
    """What a run trains of a learner, which may be abstract.

    Raises:
      ValueError: a pattern that no parameter matches, layers that the model lacks, or nothing left to train.
    """
    state = nnx.to_flat_state(nnx.state(learner, nnx.Param))
    shapes = {".".join(map(str, path)): variable.get_value().shape for path, variable in state}
    frozen = _frozen(learner, list(shapes), config.tune)
    found = TrainableParams(shapes, {name: rows for name, rows in frozen.items() if rows})
    if all(found.is_frozen(name) for name in shapes):
        raise ValueError("training.tune freezes every parameter: nothing is left to train")
    return dataclasses.replace(found, rates=_rates(learner, found, config))


def matching(names: Sequence[str], patterns: Sequence[str], setting: str) -> set[str]:
    """The names that match a pattern.

    Raises:
      ValueError: a pattern that none matches.
    """
    found: set[str] = set()
    for pattern in patterns:
        own = {name for name in names if fnmatch.fnmatchcase(name, pattern)}
        if not own:
            raise ValueError(f"{setting}: no parameter matches '{pattern}'; names are such as {names[0]}")
        found |= own
    return found


def _frozen(learner: nnx.Module, names: list[str], tune: Tuning) -> dict[str, int]:
    """How many rows of each parameter are frozen."""
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
    """Whether a parameter of the trunk is one of the low-rank updates that are to be trained."""
    return tune.mode == "lora" and LORA in name.split(".")


def _layered(learner: nnx.Module, setting: str) -> MultimodalTransformer:
    """The trunk, which must be one of layers."""
    backbone = getattr(learner, "trunk", None)
    if not isinstance(backbone, MultimodalTransformer):
        raise ValueError(f"{setting} counts layers, which only the transformer has: leave it out")
    return backbone


def _rates(learner: nnx.Module, portion: TrainableParams, config: Training) -> Any:
    """The trained parameters' shares of the learning rate: numbers, and for stacked layers a column of them."""
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
        column = np.asarray(rates[name], np.float32)[portion.frozen.get(name, 0) :]
        return column.reshape(-1, *[1] * (len(portion.shapes[name]) - 1))

    params = nnx.to_pure_dict(nnx.state(learner, nnx.Param))
    return unflatten_dict({path: rate(_name(path)) for path in flatten_dict(portion.filter(params))})


def _name(path: tuple) -> str:
    return ".".join(map(str, path))
