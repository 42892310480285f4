"""The parameters of a checkpoint and of a new model, compared by name, with explained and unexplained differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from mmvideo.experiment.weights.parameter_report import ParamReport, Shape, modalities_of, objective_of, patterns
from mmvideo.model.layers.low_rank import LORA
from mmvideo.stream import StreamSpec
from mmvideo.training.config import Training
from mmvideo.training.trainable import TrainableParams, matching


@dataclasses.dataclass(frozen=True)
class CheckpointParams:
    """The parameters of a checkpoint.

    Attributes:
      source: the checkpoint, in words.
      shapes: shapes as saved, by dotted name.
      fitted: parameters, adapted to the new model where a method is known.
      how: method by name, of the adapted ones.
      spec: modalities of its training.
    """

    source: str
    shapes: Mapping[str, Shape]
    fitted: Mapping[str, np.ndarray]
    how: Mapping[str, str]
    spec: StreamSpec


ROOMS = {
    "trunk.norms.": "this model has no final norm",
    "trunk.alone.": "no modality passes the fused layers by itself here",
}
"""Prefixes of backbone parameters that a setting removes as a whole, with the reason to ignore a checkpoint's."""


def compare_parameters(
    old: CheckpointParams, portion: TrainableParams, spec: StreamSpec, config: Training
) -> ParamReport:
    """Assign every parameter to a group, and list unexplained differences.

    Args:
      old: the checkpoint.
      portion: parameters of the new model, and the selection of the trained ones.
      spec: modalities of the new model.
      config: names of parameters to initialize anew and to ignore.

    Raises:
      ValueError: a name pattern that matches nothing.
    """
    new, found, how = portion.shapes, old.fitted, old.how
    restarted = matching(sorted({*found, *new}), config.init_fresh, "training.init_fresh")
    left = matching(sorted(found), config.init_ignore, "training.init_ignore")
    # Checkpoint {a, b, c}, model {b, c, d}, init_fresh = [c]: both = {b}, fresh = {c, d}, ignored = {a, c}. Only a and
    # d need a reason; c has one.
    both = (found.keys() & new.keys()) - restarted - left
    named = {name: "named by init_fresh" for name in restarted} | {name: "named by init_ignore" for name in left}
    gone = set(old.spec.modalities) - set(spec.modalities)
    fresh = {name: (new[name], named.get(name) or _why_fresh(name, found)) for name in new.keys() - both}
    ignored = {
        name: (old.shapes[name], named.get(name) or _why_ignored(name, new, gone)) for name in found.keys() - both
    }
    # Four kinds of mistakes, each an error later: other shapes, missing values, unused values, and frozen random
    # values.
    surprises = [
        *_misfits({name: (old.shapes[name], new[name]) for name in both if found[name].shape != new[name]}, both),
        *_lacking("training.init_fresh", "of this model is not in it", _unexplained(fresh), new),
        *_lacking("training.init_ignore", "of it has no place here", _unexplained(ignored), found),
        *_stuck([name for name, (_, why) in fresh.items() if why and portion.is_frozen(name)], new),
    ]
    return ParamReport(
        old.source,
        {name: new[name] for name in both if name not in how},
        {name: (old.shapes[name], new[name], how[name]) for name in both if name in how},
        fresh,
        ignored,
        surprises,
    )


def _why_fresh(name: str, old: Mapping[str, np.ndarray]) -> str:
    """Return the reason why a parameter has no value in the checkpoint; empty if nothing explains it."""
    if LORA in name.split("."):
        return "low-rank updates"
    return "an objective that the checkpoint lacks" if _alone(name, old) else ""


def _why_ignored(name: str, new: Mapping[str, Shape], gone: set[str]) -> str:
    """Return the reason why a checkpoint's parameter is not in the new model; empty if nothing explains it."""
    if _alone(name, new):
        return "an objective that this run lacks"
    # Only if the model has nothing under the prefix: a single missing norm of many is a mistake, not a setting.
    room = next((room for room in ROOMS if name.startswith(room)), None)
    if room is not None and not any(other.startswith(room) for other in new):
        return ROOMS[room]
    found = sorted(modalities_of(name) & gone)
    return f"no {' or '.join(found)} in this run" if found else ""


def _alone(name: str, others: Mapping[str, object]) -> bool:
    """Return True if a parameter belongs to an objective of which the other model has no parameter."""
    own = objective_of(name)
    return own is not None and not any(objective_of(other) == own for other in others)


def _unexplained(group: Mapping[str, tuple[Shape, str]]) -> set[str]:
    """Return the names without a reason."""
    return {name for name, (_, why) in group.items() if not why}


def _misfits(wrong: Mapping[str, tuple[Shape, Shape]], names: Collection[str]) -> list[str]:
    """Return the advice for parameters whose shapes differ."""
    if not wrong:
        return []
    name = min(wrong)
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    there, here = map(list, wrong[name])
    return [
        f"{name} is {there} there and {here} here{more}: build the model with the sizes it was trained with, or let "
        f"training.init_fresh name what to initialize anew: {patterns(wrong, set(names) - wrong.keys())}"
    ]


def _lacking(setting: str, what: str, some: Collection[str], names: Collection[str]) -> list[str]:
    """Return the advice for parameters that only one of the models has."""
    if not some:
        return []
    more = f" and {len(some) - 1} more" if len(some) > 1 else ""
    told = patterns(some, set(names) - set(some))
    return [f"{min(some)}{more} {what}: give the model the same parts, or name them by {setting}: {told}"]


def _stuck(some: Collection[str], names: Collection[str]) -> list[str]:
    """Return the advice for parameters that would keep random values, because they are frozen."""
    if not some:
        return []
    return [
        f"{min(some)} would start anew and is frozen by training.tune, so that it would stay random: train it "
        f"(training.tune.thaw: {patterns(some, set(names) - set(some))}), or take it from the checkpoint"
    ]
