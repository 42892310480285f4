"""The run of an experiment, from corpora to report."""

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
    """Train or resume in the workdir, evaluate, and write the report.

    Args:
      experiment: the settings.
      workdir: folder of the run, created if missing.
      given: dotted names of fields that the user set, which are kept where the settings choose others from the corpus.
      profile: number of steps to trace into `WORKDIR/profile`; None traces none.

    Returns:
      The exit code: 0 when the run is complete, 3 when it was asked to stop and can be resumed.

    Raises:
      ValueError: settings, corpora, checkpoints or devices that do not fit each other.
    """
    initialize()
    enable_latency_hiding()
    enable_compilation_cache()
    experiment = _fitted(experiment, workdir, given)
    mesh = make_mesh(experiment.mesh)
    batches = _read(experiment)
    watchdog = Watchdog(experiment.training.hang_seconds, workdir)
    # The watchdog counts batches of evaluation as well, so that a long evaluation is not mistaken for a hang.
    place = watchdog.watched(functools.partial(device_put_batch, mesh=mesh))
    measures = evaluators(experiment, batches.assets())

    def learner(rngs: nnx.Rngs) -> Learner:
        return make_learner(experiment, batches.spec, rngs)

    def measure(learner: Learner, step: int) -> dict[str, float | None]:
        # A resumed run repeats no evaluation that its workdir already has for this step.
        known = {each.name: measured(workdir, each.name, step) for each in measures}
        due = [each for each in measures if known[each.name] is None]
        results = run_evaluators(due, learner, place, workdir, step)
        found = known | {name: result.metrics for name, result in results.items()}
        # {"retrieval": {"video_to_text/r@1": 0.4}} becomes {"retrieval/video_to_text/r@1": 0.4}.
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
        # Only the first process logs it, and tracing takes seconds.
        utilisation=utilisation_of_a_token(experiment, devices[0].device_kind, len(devices)) if first else None,
    )
    # Training returns early only when it was asked to stop.
    if int(state.step) < experiment.training.steps:
        return 3
    return _conclude(experiment, Path(workdir))


def _read(experiment: Experiment) -> Batches:
    """Open the corpora of a run and return its batches; print a line before and after."""
    names = ", ".join(f"{source.path} ({source.split})" for source in experiment.input.sources)
    _say(f"reading {names}")
    batches = Batches(experiment.input, process_index=jax.process_index(), process_count=jax.process_count())
    threads = f"{batches.threads} thread{'s' * (batches.threads > 1)} to prepare them"
    _say(f"{len(batches.corpus):,} clips, {batches.steps_per_epoch:,} steps an epoch, {threads}; setting up the model")
    return batches


def _say(text: str) -> None:
    """Print a line, from the first process only."""
    if jax.process_index() == 0:
        print(text, flush=True)


def _fitted(experiment: Experiment, workdir: str | Path, given: frozenset[str]) -> Experiment:
    """Return the experiment with the choices that it leaves to the corpus; the first process prints them."""
    if not is_open(experiment):
        return experiment
    names = ", ".join(source.path for source in experiment.input.sources)
    _say(f"reading {names} to choose settings")
    # All processes read the same corpus, so all make the same choices without communication.
    experiment, chosen = fit(experiment, given, workdir)
    if chosen:
        _say(f"chosen from {names} (flags choose otherwise; mmvideo data advise tells more):")
        _say("\n".join([*choice_lines(chosen), *(f"mind: {caution}" for caution in cautions(experiment))]))
    return experiment


def evaluate(experiment: Experiment, workdir: str | Path, dataset: str | None = None, step: Step = None) -> int:
    """Evaluate a checkpoint of a workdir, and write its report again.

    Args:
      experiment: settings of the training, with the wanted evaluation settings.
      workdir: folder of the run.
      dataset: name of the clips, if they are not the run's own evaluation clips.
      step: checkpoint; None is the newest complete one.

    Raises:
      ValueError: no checkpoint, or one that does not fit the settings.
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
    """Write the report, and print the table of results and the path of the report."""
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
