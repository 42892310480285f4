"""The warm start of a run: parameters of another run are matched by name, adapted, reported and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils

from mmvideo.experiment.weights.load import Step, stream_spec
from mmvideo.experiment.weights.parameter_diff import CheckpointParams, compare_parameters
from mmvideo.experiment.weights.parameter_report import ParamReport, objective_of
from mmvideo.model.layers.inflate import inflate_video
from mmvideo.model.positions.resize import resize_positions
from mmvideo.model.transformer.lora import merged_parameters
from mmvideo.model.transformer.special_tokens import modality_rows
from mmvideo.objectives.learner import Learner
from mmvideo.stream import StreamSpec
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints
from mmvideo.training.config import Training
from mmvideo.training.trainable import trainable_params

TOKENIZER, CLASSES = "tokenizer.model", "classes.json"
"""Files that define the meaning of token ids and class indices."""

Arrays = dict[str, np.ndarray]
"""Parameters by dotted name, on the host."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A checkpoint to start from.

    Attributes:
      what: the checkpoint in words, for errors.
      folder: folder of the checkpoint.
      parameters: its parameters, with low-rank updates merged.
      assets: files stored in it.
    """

    what: str
    folder: Path
    parameters: Arrays
    assets: Mapping[str, bytes]

    @property
    def spec(self) -> StreamSpec:
        """Modalities of its training."""
        return stream_spec(json.loads(self.assets["spec.json"]))


def start_from_checkpoint(
    config: Training, assets: Mapping[str, bytes], workdir: str | Path | None, learner: Learner
) -> None:
    """Initialize a new learner from the checkpoint `config.init_from`; print a report, and write it.

    Args:
      config: checkpoint, and names of parameters to initialize anew and to ignore.
      assets: files of the new run, with its tokenizer and its classes.
      workdir: folder for `init.json`; None writes none.
      learner: learner, changed in place.

    Raises:
      CheckpointError: no checkpoint, a damaged one, other token ids or classes, or an unexplained difference: a
        parameter that is missing, unused, frozen without a value, or of another shape.
    """
    state = nnx.state(learner, nnx.Param)
    new = {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(state)}
    source = open_source(Path(config.init_from))
    here = {name: _whole(variable.get_value()) for name, variable in new.items() if _fits_by_rows(name)}
    fitted, how = fit_parameters(source.parameters, here, source.spec, learner.trunk.spec, config)
    shapes = {name: tuple(value.shape) for name, value in source.parameters.items()}
    old = CheckpointParams(source.what.removeprefix("training.init_from "), shapes, fitted, how, source.spec)
    taken = compare_parameters(old, trainable_params(learner, config), learner.trunk.spec, config)
    # Only parameters of these two groups are copied; new ones keep their initialization.
    values = {name: fitted[name] for name in (*taken.loaded, *taken.resized)}
    _check(source, values, taken, new, learner, assets)
    for name, value in values.items():
        new[name].set_value(_placed(value, new[name].get_value()))
    nnx.update(learner, state)
    # Objectives copied the new backbone's random parameters, for example into a teacher: they copy again.
    learner.begin()
    if jax.process_index() == 0:
        print("\n".join(taken.lines()))
        if workdir is not None:
            taken.write(Path(workdir))


def open_source(path: Path) -> Source:
    """Read a run's newest checkpoint, or the one that a path names.

    Raises:
      CheckpointError: no checkpoint, or a damaged one.
    """
    folder, step = _checkpoint(path)
    with Checkpoints(folder) as checkpoints:
        step, parameters, assets = checkpoints.newest(
            lambda found: (found, checkpoints.parameters(found), checkpoints.assets(found)), step
        )

    # The update is added as B A * alpha / rank; alpha is in the checkpoint's config, the rank in the shape of its
    # matrices.
    def scale(rank: int) -> float:
        return json.loads(assets["config.json"])["training"]["tune"]["lora"]["alpha"] / rank

    merged = {name: np.asarray(value) for name, value in merged_parameters(parameters, scale).items()}
    return Source(f"training.init_from {path} (step {step})", folder / str(step), merged, assets)


def _checkpoint(path: Path) -> tuple[Path, Step]:
    """Return the checkpoint folder that a path means, and the step that it names."""
    # runs/a means the newest step, runs/a/checkpoints/best the marked one, runs/a/checkpoints/400 step 400.
    if path.name == "best" and path.parent.name == "checkpoints":
        return path.parent, "best"
    if path.name.isdigit() and (path / "record").is_dir():
        return path.parent, int(path.name)
    folder = path / "checkpoints"
    if not Checkpoints(folder).steps():
        raise CheckpointError(
            f"training.init_from {path}: no checkpoint there; give a run's folder, or one of its folders "
            "checkpoints/STEP, or checkpoints/best"
        )
    return folder, None


def fit_parameters(
    parameters: Arrays, here: Mapping[str, np.ndarray], before: StreamSpec, spec: StreamSpec, config: Training
) -> tuple[Arrays, dict[str, str]]:
    """Return the parameters of a checkpoint adapted to a new model, and the method by name of the adapted ones.

    Args:
      parameters: parameters of the checkpoint.
      here: position tables and modality parameters of the new model, by name; others are not needed.
      before, spec: modalities of the checkpoint and of the new model.
      config: inflation of kernels of single frames to tubelets.
    """
    found = inflate_video(parameters, before, spec, config.inflation)
    how = {name: f"inflated, {config.inflation}" for name in _changed(parameters, found)}
    own = {name: here[name] for name in found if name in here and _fits_by_rows(name)}
    # Each step gets the result of the previous one; `how` keeps the last step that changed an array.
    for step, why in ((modality_rows, "rows of its modalities"), (resize_positions, "positions")):
        fitted = step(found, own, before, spec)
        how |= dict.fromkeys(_changed(found, fitted), why)
        found = dict(fitted)
    return found, how


def _fits_by_rows(name: str) -> bool:
    """Return True for tables and special tokens, whose rows stand for positions or modalities."""
    return ".tables." in name or ".extra." in name


def _changed(old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]) -> list[str]:
    """Return the names of arrays that differ."""
    return [name for name, value in new.items() if not np.array_equal(value, old[name])]


def _check(
    source: Source,
    values: Arrays,
    taken: ParamReport,
    new: Mapping[str, Any],
    learner: Learner,
    assets: Mapping[str, bytes],
) -> None:
    """Raise unless the loaded parameters have the same meaning here and nothing unexplained is left."""
    if not values:
        raise CheckpointError(f"{source.what} has no parameter that this model has; it is another kind of model")
    # Token 17 of another tokenizer is another word: the embedding has the right shape and the wrong meaning.
    text_tokens = [name for name in values if "vocab" in (new[name].get_metadata().get("axes") or ())]
    if text_tokens and source.assets.get(TOKENIZER) != assets.get(TOKENIZER):
        raise CheckpointError(
            f"{source.what} was trained with another tokenizer, so {min(text_tokens)} means other tokens here; set "
            f"input.text.tokenizer to {source.folder / 'record' / TOKENIZER}, or let training.init_fresh name "
            + " ".join(f"'{name}'" for name in sorted(text_tokens))
        )
    _check_classes(source, values, learner, assets)
    if taken.surprises:
        raise CheckpointError(f"{source.what} does not fit: {'; '.join(taken.surprises)}")


def _check_classes(source: Source, values: Arrays, learner: Learner, assets: Mapping[str, bytes]) -> None:
    """Raise if loaded heads have other classes, even if as many."""
    before, here = (json.loads(each.get(CLASSES, b"{}")) for each in (source.assets, assets))
    for name, objective in learner.objectives.items():
        label = getattr(objective, "label", None)
        if not isinstance(label, str) or not any(objective_of(taken) == name for taken in values):
            continue
        if label in before and label in here and before[label] != here[label]:
            raise CheckpointError(
                f"{source.what} has other classes of {label} than this corpus, so heads.{name} means other classes: "
                f"let training.init_fresh name 'heads.{name}.*'"
            )


def _whole(value: jax.Array) -> np.ndarray:
    """Return a whole array on the host, even if other processes hold parts of it."""
    # Tiled: the shards of an array are joined to one array, not stacked by process.
    return np.asarray(multihost_utils.process_allgather(value, tiled=True))


def _placed(value: np.ndarray, like: jax.Array) -> jax.Array:
    """Return a host array with the sharding of another array."""
    value = value.astype(like.dtype)
    return jax.make_array_from_callback(value.shape, like.sharding, lambda index: value[index])
