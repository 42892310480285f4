"""The loop: everything that happens to a run, in the order in which it happens."""

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
"""Changes a new learner in place before its first step."""

Evaluate = Callable[[nnx.Module, int], Mapping[str, float]]
"""Measures the learner as it is after so many steps; it keeps what it finds and answers with numbers by name."""


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
    """Trains to `config.steps`, from the newest whole checkpoint of the workdir where there is one.

    SIGTERM and Ctrl-C end the run after the step at hand, with a checkpoint; the same call resumes
    it, and ends with the bits that an uninterrupted run would have had.

    Args:
      learner_fn: makes a module with `losses(stream) -> (scalar, dict of scalars)`.
      batches: has `iterate(start, stop)` giving `(step, host stream)`, `assets()` (bytes or JSON
        by file name) and `skipped` (pairs of a clip that could not be read and the reason); may have
        `planned(step)` (see `input.plan.Planned`), and a run that can't read its clips then stops.
      place: puts this process's rows on the devices of the mesh.
      config: how long, with which optimiser, and what is kept.
      mesh: devices with the axes of `mmvideo.parallel.mesh.AXES`.
      workdir: the record of the run.
      config_json: the resolved settings of the whole run.
      begin: gives a new run's learner other parameters than new ones; not called on a resume.
      evaluate: called every `evaluate_every` steps and at the end, on every process; it must not hold
        on to the learner, whose buffers end with the next step.
      on_progress: gets each line of training metrics instead of the screen.
      watchdog: ends the process where nothing comes to an end; None makes one of `config.hang_seconds`.
      utilisation: model FLOPs of a real token over what all devices could do in a second, for the metric `mfu`.
      profile: how many steps of this start are traced into `WORKDIR/profile` (see `logging/tracing.py`); None: none.
      may_differ: settings that may change on a resume (patterns of dotted names in config_json).

    Returns:
      The state; its `step` is below `config.steps` only where the run was asked to stop.

    Raises:
      WorkdirError: the workdir holds a run with other settings or of another corpus, tokenizer or
        classes, or another process trains there.
      CheckpointError: its checkpoints don't fit or are all damaged.
      NonFiniteError: `config.patience` steps in a row were skipped, and the last was not finite.
      SpikeError: the last of them was a spike.
      UnreadableError: none of a step's clips could be read, or most of an epoch's could not.
      StorageError: the workdir could not be written; the checkpoints that were whole stay.
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
    """What happens between the steps of one start."""

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
        """Goes through the steps, unless the run is asked to stop before their end; gives the last state and step."""
        step = start = int(state.step)
        if step and _evaluated(self.config, step):
            self.measure(step, state)  # What a stop came before.
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
        """Ends the run where its workdir is another's; `now` looks, else what the last heartbeat found is told."""
        if self.owner is not None:
            self.owner.check(now)

    def measure(self, step: int, state: TrainState) -> None:
        """Evaluates, marks the checkpoint if it is the best, and writes down what is found."""
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
    """The state to start from and its step: a checkpoint's, or a new one."""
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
    """Runs the steps that are left; gives how many are done, the state and the step's metrics, unread."""
    places = jax.tree.map(lambda leaf: leaf.sharding, plan.abstract)
    run_step, start = make_step(plan.graphdef, config, places), int(state.step)
    if start < config.steps:
        logger.doing("preparing the first batch")
    for number, stream in ledger.timed_iter(batches.iterate(start, config.steps)):
        watchdog.step = number + 1
        profile.before(number)
        with jax.profiler.StepTraceAnnotation("train", step_num=number + 1):
            if number > start:
                with ledger.phase("step"):
                    state, metrics = run_step(state, place(stream))
                    profile.after(metrics)
            else:
                with ledger.phase("compile"), compiling(config_json, plan.abstract, stream, logger):
                    state, metrics = run_step(state, place(stream))
                profile.after(metrics)
        yield number + 1, state, metrics


def _machine() -> dict[str, Any]:
    """What a start runs on."""
    kind = jax.devices()[0].device_kind
    return {"devices": jax.device_count(), "kind": kind, "processes": jax.process_count()}


def _evaluated(config: Training, step: int) -> bool:
    """Whether there is an evaluation behind this step."""
    return step == config.steps or bool(config.evaluate_every and step % config.evaluate_every == 0)


def _saved(config: Training, step: int) -> bool:
    """Whether there is a checkpoint of this step; what an evaluation may find the best has one."""
    best = config.best is not None and _evaluated(config, step)
    return step == config.steps or step % config.save_every == 0 or best


def _assets(batches: Any, config_json: str) -> dict[str, bytes]:
    """The files that travel inside each checkpoint."""
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
