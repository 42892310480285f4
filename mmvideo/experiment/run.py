"""Runs an experiment: the rooms put together, from corpora to report."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
from flax import nnx

from mmvideo.evaluation.results import measured
from mmvideo.evaluation.runner import evaluate as run_evaluators
from mmvideo.experiment.build_learner import make_learner
from mmvideo.experiment.choices.advice import cautions
from mmvideo.experiment.choices.fitting import choice_lines, fit, is_open
from mmvideo.experiment.config import Experiment, to_json
from mmvideo.experiment.evaluators import evaluators, shown_modalities
from mmvideo.experiment.planning.planned_vs_measured import utilisation_of_a_token
from mmvideo.experiment.reports.summary import gain_lines, summary_lines
from mmvideo.experiment.weights.load import Step, restore
from mmvideo.experiment.weights.warm_start import start_from_checkpoint
from mmvideo.input.device_put import device_put_batch
from mmvideo.input.pipeline import Batches
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.compilation_cache import enable_compilation_cache
from mmvideo.parallel.flags import enable_latency_hiding
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.processes import initialize
from mmvideo.training.logging.watchdog import Watchdog
from mmvideo.training.loop import train


def run(
    experiment: Experiment,
    workdir: str | Path,
    given: frozenset[str] = frozenset(),
    profile: int | None = None,
) -> int:
    """Trains (or resumes) in the workdir, evaluates, and writes the report.

    Args:
      experiment: the settings.
      workdir: the record of the run, made where it isn't there.
      given: dotted names of fields that the user gave, which stay where the settings leave others to the corpus.
      profile: how many steps are traced into `WORKDIR/profile`; None: none.

    Returns:
      The exit code: 0 when the run is complete, 3 when it was asked to stop and can be resumed.

    Raises:
      ValueError: settings, corpora, checkpoints or devices that don't fit each other.
    """
    initialize()
    enable_latency_hiding()
    enable_compilation_cache()
    experiment = _fitted(experiment, workdir, given)
    mesh = make_mesh(experiment.mesh)
    batches = _read(experiment)
    watchdog = Watchdog(experiment.training.hang_seconds, workdir)
    # Evaluators place their batches too, so that a long evaluation is no hang.
    place = watchdog.watched(functools.partial(device_put_batch, mesh=mesh))
    measures = evaluators(experiment, batches.assets())

    def learner(rngs: nnx.Rngs) -> Learner:
        return make_learner(experiment, batches.spec, rngs)

    def measure(learner: Learner, step: int) -> dict[str, float | None]:
        known = {each.name: measured(workdir, each.name, step) for each in measures}
        due = [each for each in measures if known[each.name] is None]
        results = run_evaluators(due, learner, place, workdir, step)
        found = known | {name: result.metrics for name, result in results.items()}
        return {f"{kind}/{name}": value for kind, metrics in found.items() for name, value in metrics.items()}

    begin = functools.partial(start_from_checkpoint, experiment.training, batches.assets(), workdir)
    devices, first = jax.devices(), jax.process_index() == 0
    state = train(
        learner,
        batches,
        place,
        experiment.training,
        mesh,
        workdir,
        config_json=to_json(experiment),
        begin=begin if experiment.training.init_from else None,
        evaluate=measure,
        watchdog=watchdog,
        profile=profile,
        # Only the first process writes it down.
        utilisation=utilisation_of_a_token(experiment, devices[0].device_kind, len(devices)) if first else None,
    )
    if int(state.step) < experiment.training.steps:
        return 3
    return _conclude(experiment, Path(workdir))


def _read(experiment: Experiment) -> Batches:
    """Open the corpora of a run and return its batches; the first process says so before and after."""
    names = ", ".join(f"{source.path} ({source.split})" for source in experiment.input.sources)
    _say(f"reading {names}")
    batches = Batches(experiment.input, process_index=jax.process_index(), process_count=jax.process_count())
    threads = f"{batches.threads} thread{'s' * (batches.threads > 1)} to prepare them"
    _say(f"{len(batches.corpus):,} clips, {batches.steps_per_epoch:,} steps an epoch, {threads}; setting up the model")
    return batches


def _say(text: str) -> None:
    """Print a line on the screen, from one process."""
    if jax.process_index() == 0:
        print(text, flush=True)


def _fitted(experiment: Experiment, workdir: str | Path, given: frozenset[str]) -> Experiment:
    """The experiment with what it leaves to the corpus, which the first process tells."""
    if not is_open(experiment):
        return experiment
    names = ", ".join(source.path for source in experiment.input.sources)
    _say(f"reading {names} to choose settings")
    experiment, chosen = fit(experiment, given, workdir)
    if chosen:
        _say(f"chosen from {names} (flags choose otherwise; mmvideo data advise tells more):")
        _say("\n".join([*choice_lines(chosen), *(f"mind: {caution}" for caution in cautions(experiment))]))
    return experiment


def evaluate(experiment: Experiment, workdir: str | Path, dataset: str | None = None, step: Step = None) -> int:
    """Evaluates a checkpoint of a workdir, and writes its report again.

    Args:
      experiment: the settings that it was trained with, those of evaluation as they are wanted.
      workdir: the run.
      dataset: what the clips are called, where they are not those that the run is evaluated on.
      step: which checkpoint; None takes the newest that is whole.

    Raises:
      ValueError: no checkpoint, or one that doesn't fit the settings.
    """
    initialize()
    enable_compilation_cache()
    mesh = make_mesh(experiment.mesh)
    watchdog = Watchdog(experiment.training.hang_seconds, workdir)
    with jax.set_mesh(mesh), watchdog:
        learner, assets, step = restore(experiment, workdir, mesh, step)
        place = watchdog.watched(functools.partial(device_put_batch, mesh=mesh))
        watchdog.beat("evaluation")
        due = evaluators(experiment, assets, dataset)
        _say(f"evaluating step {step}: {', '.join(each.name for each in due)}")
        run_evaluators(due, learner, place, workdir, step)
    return _conclude(experiment, Path(workdir), dataset, step)


def _conclude(experiment: Experiment, workdir: Path, dataset: str | None = None, step: Step = None) -> int:
    """Writes the report, and prints the table and where the report is."""
    from mmvideo.experiment.reports.run_report import report

    _say("writing the report")
    page = report(experiment, workdir, step)
    if jax.process_index() != 0:
        return 0
    for line in summary_lines(workdir, shown_modalities(experiment), dataset):
        print(line)
    for line in gain_lines(workdir, experiment.evaluation.subsets, dataset):
        print(line)
    print(f"report: {page}")
    return 0
