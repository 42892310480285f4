"""Cheap checks of a run's inputs, before any heavy import and before any device is used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmvideo.experiment.find_config import ConfigError

if TYPE_CHECKING:
    from mmvideo.experiment.config import Experiment


def check_platform() -> None:
    """Open the devices that `JAX_PLATFORMS` names, in a single-process run; several processes must connect first.

    This needs JAX alone, a third of a run's imports.

    Raises:
      DeviceError: there are no such devices.
    """
    if not os.environ.get("JAX_PLATFORMS"):
        return
    from mmvideo.parallel.find_devices import find_devices
    from mmvideo.parallel.processes import distributed_arguments

    if distributed_arguments(os.environ) is None:
        find_devices()


def check_inputs(experiment: Experiment, workdir: str | Path | None = None) -> None:
    """Check that the model can be built, and that the corpora, splits and files of the settings exist.

    Of an embedded corpus only the name is checked; it is built later, on first use.

    Args:
      experiment: the settings.
      workdir: workdir of the run; if it has a checkpoint, `training.init_from` is not needed.

    Raises:
      CorpusError: a folder is no complete corpus.
      ConfigError: a missing split or file.
      ValueError: sizes of the model or times of the schedule that do not fit each other.
    """
    _check_numbers(experiment)
    if not experiment.input.sources:
        raise ConfigError("input.sources is empty: name a corpus, such as --input.sources.0.path corpora/clips")
    for place, source in enumerate(experiment.input.sources):
        check_source(source.path, source.split, f"input.sources.{place}")
    for place, source in enumerate(experiment.evaluation.sources or ()):
        check_source(source.path, source.split, f"evaluation.sources.{place}")
    text = experiment.input.text
    _check_file("input.text.tokenizer", None if text is None else text.tokenizer, "a SentencePiece model")
    _check_file("input.embeddings", experiment.input.embeddings, "what mmvideo predict embed writes")
    if workdir is not None:
        _check_workdir(Path(workdir))
    _check_first(experiment.training.init_from, workdir)


def _check_numbers(experiment: Experiment) -> None:
    """Check model sizes and schedule before the corpora are opened and the model is built."""
    from mmvideo.model.factory import feature_width, fusion_stages
    from mmvideo.training.optimizer import make_schedule

    feature_width(experiment.model)
    fusion_stages(experiment.model)
    # A schedule that the corpus decides is not known before the corpus is open.
    if not any(name.startswith("training") for name in experiment.choose or ()):
        make_schedule(experiment.training.optimizer, experiment.training.steps)


def check_source(path: str, split: str | None, field: str) -> None:
    """Check that a corpus and its split exist.

    Args:
      path: folder of the corpus, or name of an embedded corpus.
      split: its split; None accepts any.
      field: setting that names the corpus, for the error.

    Raises:
      CorpusError: the folder is no complete corpus, or the embedded corpus does not exist.
      ConfigError: it has no such split.
    """
    from mmvideo.datasets.corpus import SAMPLES, CorpusError, splits

    if path.startswith(SAMPLES):
        from mmvideo.datasets.samples import ALL, SETS

        name = path.removeprefix(SAMPLES)
        if name not in (*SETS, ALL):
            raise CorpusError(f"{field}: there is no embedded set '{name}'; there are {', '.join((*SETS, ALL))}")
        return
    there = splits(path)
    if split is not None and split not in there:
        raise ConfigError(f"{field}: {path} has no split '{split}'; it has {', '.join(there)}")


def _check_file(field: str, path: str | None, what: str) -> None:
    """Raise if a setting names a missing file."""
    if path is not None and not Path(path).is_file():
        raise ConfigError(f"{field}: there is no file {path}; name {what}")


def _check_workdir(workdir: Path) -> None:
    """Raise if the workdir is a file."""
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir {workdir} is a file; give a folder, which is made where it is missing")


def _check_first(path: str | None, workdir: str | Path | None) -> None:
    """Raise if a new run's initial checkpoint is missing; a resumed run has its own parameters."""
    if path is None or (workdir is not None and any((Path(workdir) / "checkpoints").glob("[0-9]*"))):
        return
    place = Path(path)
    # checkpoints/best names the marked checkpoint: only its parent is a folder.
    there = place.parent if place.name == "best" else place
    if not there.exists():
        raise ConfigError(
            f"training.init_from {path}: no checkpoint there; give a run's folder, or one of its folders "
            "checkpoints/STEP, or checkpoints/best"
        )
