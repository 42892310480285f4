"""Training loop: all events of a run, in chronological order."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh

from mmvideo.stream import TokenStream
from mmvideo.training.checkpoint.checkpoints import Checkpoints, RetentionPolicy
from mmvideo.training.checkpoint.storage_errors import storage_errors
from mmvideo.training.compiling import compiling
from mmvideo.training.config import Training
from mmvideo.training.logging.metric_logger import MetricLogger
from mmvideo.training.logging.progress import clock
from mmvideo.training.logging.time_ledger import TimeLedger
from mmvideo.training.logging.tracing import FOLDER as PROFILE
from mmvideo.training.logging.tracing import Profile
from mmvideo.training.logging.watchdog import Watchdog
from mmvideo.training.resume_checks import CORPORA, check_resumed, kept_files, moved_paths
from mmvideo.training.signals import stop_requests
from mmvideo.training.state import AbstractTrainState, TrainState, eval_model, init_abstract, warm_started
from mmvideo.training.step import Metrics, make_step
from mmvideo.training.workdir import RESUMABLE_FIELDS, check_settings, create_or_validate_workdir, release_on_error
from mmvideo.training.workdir_owner import Owner, owned

Place = Callable[[TokenStream], TokenStream]
Begin = Callable[[nnx.Module], None]
"""Function that changes a new learner in place before its first step."""

Evaluate = Callable[[nnx.Module, int], Mapping[str, float]]
"""Function that evaluates the learner after the given number of steps and returns metrics by name."""


def train(
    learner_fn: Callable[[nnx.Rngs], nnx.Module],
    batches: Any,
    place: Place,
    config: Training,
    mesh: Mesh,
    workdir: str | Path,
    *,
    config_json: str,
    begin: Begin | None = None,
    evaluate: Evaluate | None = None,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    watchdog: Watchdog | None = None,
    utilisation: float | None = None,
    profile: int | None = None,
    may_differ: Sequence[str] = RESUMABLE_FIELDS,
) -> TrainState:
    """Train to `config.steps`, from the newest intact checkpoint of the workdir if there is one.

    SIGTERM and Ctrl-C end the run after the current step, with a checkpoint. The same call resumes it, and gives the
    same bits as an uninterrupted run.

    Args:
      learner_fn: makes a module with `losses(stream) -> (scalar, dict of scalars)`.
      batches: has `iterate(start, stop)`, which yields `(step, host stream)`, `assets()` (bytes or JSON by file name)
        and `skipped` (pairs of an unreadable clip and the reason). It may have `planned(step)` (see
        `input.planning.epoch_plan.Planned`); a run that cannot read its clips then stops.
      place: puts this process's rows on the devices of the mesh.
      config: length, optimiser, checkpoints and evaluations.
      mesh: devices with the axes of `mmvideo.parallel.mesh.AXES`.
      workdir: folder with all records of the run.
      config_json: the resolved settings of the whole run.
      begin: replaces the initial parameters of a new run's learner; not called on a resume.
      evaluate: called every `evaluate_every` steps and at the end, on every process; it must not keep a reference to
        the learner, whose buffers are invalid after the next step.
      on_progress: receives each line of training metrics instead of the screen.
      watchdog: ends a process that hangs; None makes one from `config.hang_seconds`.
      utilisation: model FLOPs of a real token over the peak FLOPs of all devices in a second, for the metric `mfu`.
      profile: number of steps of this start traced into `WORKDIR/profile` (see `logging/tracing.py`); None for none.
      may_differ: settings that may change on a resume (patterns of dotted names in config_json).

    Returns:
      The state; its `step` is below `config.steps` only if a stop was requested.

    Raises:
      WorkdirError: the workdir holds a run with other settings, corpus, tokenizer or classes, or another process trains
        there.
      CheckpointError: its checkpoints do not fit or are all damaged.
      NonFiniteError: `config.patience` steps in a row were skipped, and the last was not finite.
      SpikeError: `config.patience` steps in a row were skipped, and the last was a spike.
      UnreadableError: no clip of a step, or less than half of an epoch, could be read.
      StorageError: the workdir could not be written; complete checkpoints remain.
    """
    workdir, first = Path(workdir), jax.process_index() == 0
    watchdog = watchdog or Watchdog(config.hang_seconds, workdir)
    with contextlib.ExitStack() as stack:
        stack.enter_context(watchdog)
        stack.enter_context(storage_errors(workdir))
        owner = stack.enter_context(owned(workdir))
        files = _assets(batches, config_json)
        there = kept_files(workdir / "checkpoints")
        may_differ = (*may_differ, *moved_paths(there))
        check_settings(workdir, config_json, may_differ)
        check_resumed(workdir, there, files, may_differ)
        new = create_or_validate_workdir(workdir, config_json, may_differ)
        ledger = TimeLedger(workdir / "ledger.jsonl" if first else None, watchdog.beat)
        asked = stack.enter_context(stop_requests())
        stack.enter_context(jax.set_mesh(mesh))
        with ledger.phase("init"), release_on_error(workdir, new):
            plan = init_abstract(learner_fn, config, mesh)
            retention = RetentionPolicy(config.keep, config.keep_every, config.best, config.best_mode)
            checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", retention, first))
            state, start = _first(plan, checkpoints, begin)
            lost = ledger.begin(start, _machine())
            logger = MetricLogger(workdir if first else None, start, config, ledger, batches, on_progress, utilisation)
            stack.enter_context(logger)
        for line in _greeting(workdir, start, lost, plan, getattr(batches, "remembered", None)):
            logger.log_text(line)
        run = _Run(plan, config, evaluate, ledger, logger, checkpoints, files, owner)
        traced = workdir / PROFILE if first and profile else None
        with Profile(traced, profile or 0, logger.log_text) as tracer:
            steps = _steps(plan, state, batches, place, config, ledger, watchdog, logger, config_json, tracer)
            state, step = run.through(state, steps, asked)
        logger.log_text(_farewell(workdir, step, config.steps, ledger))
    return state


@dataclasses.dataclass(frozen=True)
class _Run:
    """Actions between the steps of one start."""

    plan: AbstractTrainState
    config: Training
    evaluate: Evaluate | None
    ledger: TimeLedger
    logger: MetricLogger
    checkpoints: Checkpoints
    assets: Mapping[str, bytes]
    owner: Owner | None

    def through(
        self, state: TrainState, steps: Iterator[tuple[int, TrainState, Metrics]], asked: Callable[[int], bool]
    ) -> tuple[TrainState, int]:
        """Run the steps until the last one or a stop request; return the last state and step."""
        step = start = int(state.step)
        if step and _evaluated(self.config, step):
            self.measure(step, state)  # An evaluation that a stop prevented.
        for step, state, metrics in steps:
            self.logger.add(step, metrics)
            if step == start + 1:
                self.logger.first()
            self.keep_hold()
            stopped = asked(step)
            if stopped or _saved(self.config, step):
                self.logger.flush(line=True)
                self.keep_hold(now=True)
                with self.ledger.phase("checkpoint"):
                    self.checkpoints.save(step, state, self.assets)
            if stopped:
                break
            if _evaluated(self.config, step):
                self.measure(step, state)
        with self.ledger.phase("checkpoint"):
            self.checkpoints.close()
        self.logger.flush(line=True)
        return state, step

    def keep_hold(self, now: bool = False) -> None:
        """End the run if another process owns its workdir; `now` reads the file instead of the last heartbeat's
        result."""
        if self.owner is not None:
            self.owner.check(now)

    def measure(self, step: int, state: TrainState) -> None:
        """Evaluate, mark the checkpoint if it is the best, and write the metrics."""
        self.logger.flush()
        if self.evaluate is None:
            return
        self.logger.doing(f"evaluating after step {step}")
        with self.ledger.phase("evaluation"):
            found = self.evaluate(eval_model(self.plan.graphdef, state), step)
        with self.ledger.phase("checkpoint"):
            best = self.checkpoints.measured(step, found)
        self.logger.evaluated(step, {f"eval/{name}": value for name, value in found.items()})
        if best:
            self.logger.log_text(f"step {step} is the best so far: its checkpoint is kept")


def _first(plan: AbstractTrainState, checkpoints: Checkpoints, begin: Begin | None) -> tuple[TrainState, int]:
    """Return the state to start from and its step: from a checkpoint, or new."""
    # A resume ignores `begin`: its checkpoint already has the parameters that it set.
    if checkpoints.latest is None:
        state = plan.create()
        return (state if begin is None else warm_started(plan, state, begin)), 0
    state = checkpoints.restore(plan.abstract)
    checkpoints.quarantine_after(int(state.step))
    return state, int(state.step)


def _steps(
    plan: AbstractTrainState,
    state: TrainState,
    batches: Any,
    place: Place,
    config: Training,
    ledger: TimeLedger,
    watchdog: Watchdog,
    logger: MetricLogger,
    config_json: str,
    profile: Profile,
) -> Iterator[tuple[int, TrainState, Metrics]]:
    """Run the remaining steps; yield the number of steps done, the state and the step's metrics, not yet read."""
    places = jax.tree.map(lambda leaf: leaf.sharding, plan.abstract)
    run_step, start = make_step(plan.graphdef, config, places), int(state.step)
    if start < config.steps:
        logger.doing("preparing the first batch")
    # Steps run asynchronously: the metrics stay on the devices, so the next batch is prepared while a step runs.
    for number, stream in ledger.timed_iter(batches.iterate(start, config.steps)):
        watchdog.step = number + 1
        profile.before(number)
        # The first step of a start includes compilation, so the ledger books it apart.
        first = number == start
        with ledger.phase("compile" if first else "step"):
            watched = compiling(config_json, plan.abstract, stream, logger) if first else contextlib.nullcontext()
            with watched, jax.profiler.StepTraceAnnotation("train", step_num=number + 1):
                state, metrics = run_step(state, place(stream))
            # A trace ends after the annotation of its last step, which would be missing otherwise.
            profile.after(metrics)
        yield number + 1, state, metrics


def _machine() -> dict[str, Any]:
    """Return the devices of this start."""
    kind = jax.devices()[0].device_kind
    return {"devices": jax.device_count(), "kind": kind, "processes": jax.process_count()}


def _evaluated(config: Training, step: int) -> bool:
    """Return whether an evaluation follows this step."""
    return step == config.steps or bool(config.evaluate_every and step % config.evaluate_every == 0)


def _saved(config: Training, step: int) -> bool:
    """Return whether this step has a checkpoint; each step that may be the best has one."""
    best = config.best is not None and _evaluated(config, step)
    return step == config.steps or step % config.save_every == 0 or best


def _assets(batches: Any, config_json: str) -> dict[str, bytes]:
    """Return the files that are stored inside each checkpoint."""
    files = {
        name: asset if isinstance(asset, bytes) else json.dumps(asset).encode()
        for name, asset in batches.assets().items()
    }
    if hasattr(batches, "origin"):
        files[CORPORA] = (json.dumps(batches.origin(), indent=2) + "\n").encode()
    return {**files, "config.json": config_json.encode()}


def _greeting(workdir: Path, start: int, lost: float, plan: AbstractTrainState, remembered: str | None) -> list[str]:
    lines = [f"resuming {workdir} at step {start}; {lost:.1f} s of earlier work are done again"] if start else []
    if plan.portion.frozen:
        lines.append(f"training {plan.portion.size:,} of {plan.portion.total:,} numbers")
    return [*lines, remembered] if remembered else lines


def _farewell(workdir: Path, step: int, steps: int, ledger: TimeLedger) -> str:
    goodput = f"goodput {ledger.goodput:.0%} of {clock(ledger.since_first)} since the first start"
    if step < steps:
        stopped = f"stopped at step {step} of {steps} with a checkpoint; run the same command to resume {workdir}"
        return f"{stopped}; {goodput}"
    return f"done: {steps} steps in {workdir}; {goodput}"
