"""The first step of a start: it is compiled, which is said beforehand with a guess of the time, and timed."""

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
    """Tell how long the step in the block will take to compile, where an earlier start knows, and write down how long.

    Args:
      config_json: the settings of the run.
      state: shapes of all arrays of the state.
      stream: a batch.
      logger: tells it.
    """
    step, folder = _program(json.loads(config_json), state, stream), programs_folder()
    logger.compiling(expected(step, folder))
    with timed(step, folder if jax.process_index() == 0 else None):
        yield


def _program(settings: dict[str, Any], state: Any, stream: TokenStream) -> StepProgram:
    """Return what the step follows from: of the training's settings all but those that a resume may change."""
    free = {name.removeprefix("training.") for name in RESUMABLE_FIELDS}
    training = {name: value for name, value in settings.get("training", {}).items() if name not in free}
    shapes = _shapes(state)
    # Who calls the trainer with a learner of their own may have no settings of a model; its parameters tell it apart.
    model = [settings["model"], settings.get("objectives")] if "model" in settings else shapes
    return StepProgram.of(model, [settings.get("mesh"), training, shapes, _shapes(stream)])


def _shapes(tree: Any) -> list[str]:
    return [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]
