"""The settings of a run, verified against the copy that each checkpoint stores under a digest.

`config.json` in the workdir can be edited. With a changed byte it may still be valid JSON for other settings, and the
weights would be misinterpreted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from mmvideo.experiment.config import Experiment, load_experiment
from mmvideo.experiment.find_config import CONFIG, ConfigError, find_run
from mmvideo.training.checkpoint.checkpoint_manifest import RECORD, read_record
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints
from mmvideo.training.workdir import PATHS, RESUMABLE_FIELDS, differences

if TYPE_CHECKING:
    from mmvideo.experiment.weights.load import Step


def load_run(workdir: str | Path, step: Step = None) -> Experiment:
    """Return the settings of a run or an export.

    Args:
      workdir: its folder.
      step: checkpoint to compare with; None is the newest complete one.

    Raises:
      ConfigError: no run, an unreadable `config.json`, or a setting that changes the meaning of the weights and differs
        from the checkpoint's.
    """
    folder = find_run(workdir)
    try:
        experiment = load_experiment(folder)
    except ConfigError as error:
        copy = _copy(folder, step)
        raise ConfigError(f"{error}{_mend(folder, copy[0]) if copy else ''}") from None
    check_config(folder, step)
    return experiment


def check_config(workdir: str | Path, step: Step = None) -> None:
    """Compare a run's `config.json` with the checkpoint's copy; print differences that a resumed run may have.

    A run without a readable checkpoint has no copy to compare with.

    Raises:
      ConfigError: as `load_run`.
    """
    folder = Path(workdir)
    found = _copy(folder, step)
    if found is None:
        return
    step, copy = found
    here = (folder / CONFIG).read_bytes()
    # Equal bytes, the usual case, need no parsing.
    if here == copy:
        return
    there, here = json.loads(copy), json.loads(here)
    # RESUMABLE_FIELDS (such as evaluation settings) and paths may differ; sizes of the model or objectives may not.
    wrong = differences(there, here, (*RESUMABLE_FIELDS, *PATHS))
    if wrong:
        raise ConfigError(
            f"{folder / CONFIG} is not what the checkpoint of step {step} was trained with: {'; '.join(wrong)}"
            f"{_mend(folder, step)}"
        )
    harmless = differences(there, here, ())
    if harmless and jax.process_index() == 0:
        said = "; ".join(harmless[:5]) + (f"; and {len(harmless) - 5} more" if len(harmless) > 5 else "")
        print(f"mmvideo: {folder / CONFIG} differs from the copy in checkpoint {step}: {said}", file=sys.stderr)


def _copy(folder: Path, step: Step) -> tuple[int, bytes] | None:
    """Return the step of the checkpoint and its copy of config.json; None if no checkpoint can be read."""
    with Checkpoints(folder / "checkpoints", loud=False) as checkpoints:
        if checkpoints.latest is None:
            return None
        try:
            return checkpoints.newest(
                lambda found: (found, read_record(checkpoints.folder / str(found) / RECORD)[1][CONFIG]), step
            )
        except (CheckpointError, KeyError):
            return None  # Code that reads the arrays raises the error.


def _mend(folder: Path, step: int) -> str:
    """Return the end of an error message: the path of the copy."""
    return f"; its copy is {folder / 'checkpoints' / str(step) / RECORD / CONFIG}: put it back in its place"
