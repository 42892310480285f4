"""Compilation of the first step of a start: announced with an estimate of the time, then timed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import jax

from mmvideo.parallel.compile_times import StepProgram, expected, programs_folder, timed
from mmvideo.stream import TokenStream
from mmvideo.training.logging.metric_logger import MetricLogger
from mmvideo.training.workdir import RESUMABLE_FIELDS


@contextlib.contextmanager
def compiling(config_json: str, state: Any, stream: TokenStream, logger: MetricLogger) -> Iterator[None]:
    """Announce the compilation of the step in the block, with an estimate from earlier starts, and record its time.

    Args:
      config_json: the settings of the run.
      state: shapes of all arrays of the state.
      stream: a batch.
      logger: shows the announcement.
    """
    step, folder = _program(json.loads(config_json), state, stream), programs_folder()
    logger.compiling(expected(step, folder))
    # All processes compile, but only the first records the time.
    with timed(step, folder if jax.process_index() == 0 else None):
        yield


def _program(settings: dict[str, Any], state: Any, stream: TokenStream) -> StepProgram:
    """Return the identity of the compiled step: the training settings that a resume may not change, and all shapes."""
    # Settings such as `log_every` do not change the compiled program.
    free = {name.removeprefix("training.") for name in RESUMABLE_FIELDS}
    training = {name: value for name, value in settings.get("training", {}).items() if name not in free}
    shapes = _shapes(state)
    # A caller with a custom learner may have no model settings; the shapes of its parameters then identify it.
    model = [settings["model"], settings.get("objectives")] if "model" in settings else shapes
    return StepProgram.of(model, [settings.get("mesh"), training, shapes, _shapes(stream)])


def _shapes(tree: Any) -> list[str]:
    return [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
