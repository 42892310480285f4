"""Cheap looks at what a run is to read, before anything heavy is imported and any device is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mmvideo.experiment.find_config import ConfigError

if TYPE_CHECKING:
    from mmvideo.experiment.config import Experiment


def check_platform() -> None:
    """Ask for the devices that `JAX_PLATFORMS` names, in a run of one process; several must find each other first.

    It needs JAX alone, a third of what a run imports.

    Raises:
      DeviceError: there are none.
    """
    if not os.environ.get("JAX_PLATFORMS"):
        return
    from mmvideo.parallel.find_devices import find_devices
    from mmvideo.parallel.processes import distributed_arguments

    if distributed_arguments(os.environ) is None:
        find_devices()


def check_inputs(experiment: Experiment, workdir: str | Path | None = None) -> None:
    """Look whether the model can be made, and the corpora, splits and files that the settings name are there.

    An embedded set that was not built yet is not built here; only its name is looked at.

    Args:
      experiment: the settings.
      workdir: of the run; one that has a checkpoint does not begin from another run's.

    Raises:
      CorpusError: a folder is no complete corpus.
      ConfigError: a split or a file is missing.
      ValueError: numbers of the model or of the schedule don't fit each other.
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
    """Numbers that don't fit each other, which would else be told when the corpora are open and the model is made."""
    from mmvideo.model.factory import feature_width, fusion_stages
    from mmvideo.training.optimizer import make_schedule

    feature_width(experiment.model)
    fusion_stages(experiment.model)
    make_schedule(experiment.training.optimizer, experiment.training.steps)


def check_source(path: str, split: str | None, field: str) -> None:
    """Look whether a corpus and its split are there.

    Args:
      path: folder of the corpus, or an embedded set.
      split: its split; None is any.
      field: where the corpus is named, for the error.

    Raises:
      CorpusError: the folder is no complete corpus, or there is no embedded set of that name.
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
    if path is not None and not Path(path).is_file():
        raise ConfigError(f"{field}: there is no file {path}; name {what}")


def _check_workdir(workdir: Path) -> None:
    if workdir.exists() and not workdir.is_dir():
        raise ConfigError(f"--workdir {workdir} is a file; give a folder, which is made where it is missing")


def _check_first(path: str | None, workdir: str | Path | None) -> None:
    """A new run's first parameters; one that is resumed has its own."""
    if path is None or (workdir is not None and any((Path(workdir) / "checkpoints").glob("[0-9]*"))):
        return
    place = Path(path)
    there = place.parent if place.name == "best" else place
    if not there.exists():
        raise ConfigError(
            f"training.init_from {path}: no checkpoint there; give a run's folder, or one of its folders "
            "checkpoints/STEP, or checkpoints/best"
        )
