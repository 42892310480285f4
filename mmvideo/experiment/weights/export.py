"""Writes a trained model for inference: its parameters alone, with all that they need to keep their meaning.

What is written is a folder like a run's, so that whatever opens a run opens it, on any mesh:

    config.json           the settings; every device takes part, whatever the run was trained on
    export.json           which run and step it was, which average, and the dtype of the matrices
    checkpoints/STEP/     parameters, digests, tokenizer, statistics and class names, as in a run

There is no optimiser state, and no teacher: an objective that has one makes it anew from the model.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import multihost_utils

from mmvideo.experiment.config import Experiment, to_json
from mmvideo.experiment.weights.load import Step, restore
from mmvideo.experiment.weights.verified_config import load_run
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.processes import initialize
from mmvideo.records.whole import write_whole
from mmvideo.training.checkpoint.checkpoints import Checkpoints
from mmvideo.training.checkpoint.storage_errors import storage_errors
from mmvideo.training.optimizer import decayed

NOTE = "export.json"

BEGUN = "export.unfinished"
"""The file that marks a folder in which an export was begun and is not done, so that it may be begun again."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
      run: name of the experiment.
      step: of the checkpoint.
      average: which average of the parameters it is: `moving`, `mean`, or None for the parameters themselves.
      dtype: of the matrices; all other parameters are float32.
      arrays, numbers, bytes: how much that is.
    """

    run: str
    step: int
    average: str | None
    dtype: str
    arrays: int
    numbers: int
    bytes: int


def export(
    workdir: str | Path, out: str | Path, step: Step = None, dtype: Literal["float32", "bfloat16"] = "float32"
) -> Exported:
    """Writes the parameters of a checkpoint, their average where one was kept, as a folder for inference.

    Every process of a run of several writes its part.

    Args:
      workdir: the run.
      out: the folder, which must not be there, or be empty, or hold what an export that was killed left.
      step: which checkpoint; None takes the newest that is whole.
      dtype: of the matrices. Norms, biases, tables and temperatures stay float32; when it is opened, the
        matrices are float32 again, with the values that bfloat16 has left.

    Raises:
      ValueError: no run, no such checkpoint, or `out` holds something.
      StorageError: `out` cannot be written.
    """
    initialize()
    out = Path(out)
    _check_free(out)
    experiment = load_run(workdir, step)
    mesh = make_mesh(Mesh(data=1, fsdp=-1))
    with jax.set_mesh(mesh), storage_errors(out):
        learner, assets, step = restore(experiment, workdir, mesh, step)
        params = _slim(nnx.to_pure_dict(nnx.state(learner, nnx.Param)), dtype)
        made = _described(experiment, step, dtype, params)
        _begin(out)
        files = {
            "config.json": to_json(dataclasses.replace(experiment, mesh=Mesh())),
            NOTE: json.dumps(dataclasses.asdict(made), indent=1) + "\n",
        }
        with Checkpoints(out / "checkpoints") as checkpoints:
            checkpoints.export(step, params, assets | {name: text.encode() for name, text in files.items()})
        if jax.process_index() == 0:
            for name in (NOTE, "config.json"):  # The settings come last: without them nothing opens the folder.
                write_whole(out / name, files[name])
            (out / BEGUN).unlink()
    return made


def _check_free(out: Path) -> None:
    """Raises unless the folder is free, or holds what a killed export left."""
    if not out.exists() or (out.is_dir() and (not any(out.iterdir()) or (out / BEGUN).is_file())):
        return
    raise ValueError(f"{out} is there already; give a new folder, or delete it")


def _begin(out: Path) -> None:
    """Marks the folder, and clears what an export that was killed left there; all processes go on together."""
    if jax.process_index() == 0:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / BEGUN, "an export was begun here and is not done; run the same command again\n")
        for name in (NOTE, "config.json"):
            (out / name).unlink(missing_ok=True)
        if (out / "checkpoints").is_dir():
            shutil.rmtree(out / "checkpoints")
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("export begun")


def _slim(params: Any, dtype: str) -> Any:
    """The parameters with their matrices in the wanted dtype."""
    wanted = jnp.dtype(dtype)
    return jax.tree.map(lambda leaf, matrix: leaf.astype(wanted) if matrix else leaf, params, decayed(params))


def _described(experiment: Experiment, step: int, dtype: str, params: Any) -> Exported:
    settings, leaves = experiment.training, jax.tree.leaves(params)
    kept = "moving" if settings.ema is not None else "mean" if settings.average_from is not None else None
    sizes = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)
    return Exported(experiment.name, step, kept, dtype, len(leaves), *sizes)
