"""The export of a trained model for inference: its parameters, with all that gives them their meaning.

The export is a folder like a run's, so that every command that opens a run opens it, on any mesh:

    config.json           the settings; the mesh uses all devices, whatever the run was trained on
    export.json           run, step, average, and dtype of the matrices
    checkpoints/STEP/     parameters, digests, tokenizer, statistics and class names, as in a run

It has no optimizer state and no teacher: an objective that needs a teacher copies it again from the model.
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
"""Name of the file that marks a folder with an unfinished export, which may be started again."""


@dataclasses.dataclass(frozen=True)
class Exported:
    """The description of an export.

    Attributes:
      run: name of the experiment.
      step: step of the checkpoint.
      average: average of the parameters: `moving`, `mean`, or None for the parameters themselves.
      dtype: dtype of the matrices; all other parameters are float32.
      arrays, numbers, bytes: number of arrays, elements and bytes.
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
    """Write the parameters of a checkpoint, or their average where the run kept one, as a folder for inference.

    In a multi-process run every process writes its part.

    Args:
      workdir: folder of the run.
      out: output folder, which must be new, empty, or an unfinished export.
      step: checkpoint; None is the newest complete one.
      dtype: dtype of the matrices. Norms, biases, tables and temperatures stay float32. Loading converts the matrices
        back to float32, with the precision that bfloat16 left.

    Raises:
      ValueError: no run, no such checkpoint, or a folder with other content.
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
        # The files are also stored in the checkpoint under its digest, so that damage to the open copies is noticed.
        files = {
            "config.json": to_json(dataclasses.replace(experiment, mesh=Mesh())),
            NOTE: json.dumps(dataclasses.asdict(made), indent=1) + "\n",
        }
        with Checkpoints(out / "checkpoints") as checkpoints:
            checkpoints.export(step, params, assets | {name: text.encode() for name, text in files.items()})
        if jax.process_index() == 0:
            for name in (NOTE, "config.json"):  # Settings last: without them no command opens the folder.
                write_whole(out / name, files[name])
            (out / BEGUN).unlink()
    return made


def _check_free(out: Path) -> None:
    """Raise unless the folder is free, or holds an unfinished export."""
    if not out.exists() or (out.is_dir() and (not any(out.iterdir()) or (out / BEGUN).is_file())):
        return
    raise ValueError(f"{out} is there already; give a new folder, or delete it")


def _begin(out: Path) -> None:
    """Mark the folder, and remove the remains of an unfinished export; all processes continue together."""
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
    """Return the parameters with the matrices in the requested dtype."""
    # `decayed` is True for matrices only, since weight decay makes the same distinction.
    wanted = jnp.dtype(dtype)
    return jax.tree.map(lambda leaf, matrix: leaf.astype(wanted) if matrix else leaf, params, decayed(params))


def _described(experiment: Experiment, step: int, dtype: str, params: Any) -> Exported:
    """Return the description of the export."""
    settings, leaves = experiment.training, jax.tree.leaves(params)
    kept = "moving" if settings.ema is not None else "mean" if settings.average_from is not None else None
    sizes = sum(leaf.size for leaf in leaves), sum(leaf.nbytes for leaf in leaves)
    return Exported(experiment.name, step, kept, dtype, len(leaves), *sizes)
