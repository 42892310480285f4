"""The first parameters of a run that goes on from another one's: taken by name, positions made to fit."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from mmvideo.experiment.trained import stream_spec
from mmvideo.model.inflate import inflate_video
from mmvideo.model.position_resize import resize_positions
from mmvideo.objectives.learner import Learner
from mmvideo.training.checkpoint import CheckpointError, Checkpoints
from mmvideo.training.config import Training

TOKENIZER, PIECES = "tokenizer.model", "trunk.embed.text.table"
"""The asset that says what pieces mean, and the parameter with a row for each."""


def start_from(config: Training, assets: Mapping[str, Any], learner: Learner) -> None:
    """Gives a new learner the parameters of the checkpoint `config.init`, and tells what did not come from it.

    Args:
      config: names the checkpoint, and what starts anew all the same.
      assets: of the new run, with its tokenizer.
      learner: changed in place.

    Raises:
      CheckpointError: there is no checkpoint, it is damaged, a parameter is of another shape, or its pieces of
        text are those of another tokenizer.
    """
    state = nnx.state(learner, nnx.Param)
    new = {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    folder, step = _checkpoint(Path(config.init))
    with Checkpoints(folder) as checkpoints:
        step = checkpoints.latest if step is None else step
        old, found = checkpoints.parameters(step), checkpoints.assets(step)
    old = {name: value for name, value in old.items() if not _matches(name, config.init_fresh)}
    before = stream_spec(json.loads(found["spec.json"]))
    old = inflate_video(old, before, learner.trunk.spec, config.inflation)
    tables = {name: _whole(new[name].get_value()) for name in old if name in new and ".tables." in name}
    old = resize_positions(old, tables, before, learner.trunk.spec)
    taken = sorted(old.keys() & new.keys())
    what = f"training.init {config.init} (step {step})"
    _check(what, {name: old[name] for name in taken}, new)
    if PIECES in taken and found.get(TOKENIZER) != assets.get(TOKENIZER):
        raise CheckpointError(_other_pieces(what, folder / str(step)))
    for name in taken:
        new[name].set_value(_placed(old[name], new[name].get_value()))
    nnx.update(learner, state)
    for name, objective in learner.objectives.items():
        # What an objective made of the new trunk, such as a teacher, it makes of this one.
        if hasattr(objective, "begin"):
            objective.begin(learner.heads[name], learner.trunk)
    if jax.process_index() == 0:
        source = f"{len(taken)} parameters from step {step} of {folder.parent}"
        _tell(source, new.keys() - old.keys(), old.keys() - new.keys())


def _checkpoint(path: Path) -> tuple[Path, int | None]:
    """The folder of checkpoints that a path means, and which one it names."""
    if path.name.isdigit() and (path / "record").is_dir():
        return path.parent, int(path.name)
    folder = path / "checkpoints"
    if not Checkpoints(folder).steps():
        raise CheckpointError(
            f"training.init {path}: no checkpoint there; give a run's folder, or one of its folders checkpoints/STEP"
        )
    return folder, None


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _check(what: str, old: Mapping[str, np.ndarray], new: Mapping[str, Any]) -> None:
    """Raises unless there are parameters, each of the shape of the new one."""
    if not old:
        raise CheckpointError(f"{what} has no parameter that this model has; it is another kind of model")
    wrong = [
        f"{name} is {list(value.shape)} there and {list(new[name].get_value().shape)} here"
        for name, value in old.items()
        if value.shape != new[name].get_value().shape
    ]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise CheckpointError(
            f"{what} does not fit: {wrong[0]}{more}; build the model with the sizes it was trained with, or let "
            "training.init_fresh name what starts anew"
        )


def _whole(value: jax.Array) -> np.ndarray:
    """An array on the host, also where other processes hold parts of it."""
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


def _placed(value: np.ndarray, like: jax.Array) -> jax.Array:
    """A host array laid out as another array is."""
    value = value.astype(like.dtype)
    return jax.make_array_from_callback(value.shape, like.sharding, lambda index: value[index])


def _other_pieces(what: str, checkpoint: Path) -> str:
    return (
        f"{what} was trained with another tokenizer, so {PIECES} means other pieces here; set input.text.tokenizer "
        f"to {checkpoint / 'record' / TOKENIZER}, or let training.init_fresh name '{PIECES}'"
    )


def _tell(source: str, new: Set[str], left_out: Set[str]) -> None:
    """Prints where parameters come from and which don't, the latter by the first two parts of their names."""
    print(source)
    for what, names in (("new", new), ("left out", left_out)):
        if names:
            parts = sorted({".".join(name.split(".")[:2]) for name in names})
            print(f"{what}: {len(names)} ({', '.join(parts)})")
