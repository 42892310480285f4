"""Calling the evaluators of a run and keeping what they say under `evals/`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
from flax import nnx

from mmvideo.training.files import write_lines, write_whole
from mmvideo.training.state import TrainState


class Evaluator(Protocol):
    """Measures a learner.

    `name` is the file's name. The answer is the content of `evals/NAME.json` (`metrics`: numbers by
    name; `dataset`, `split`, `clips`, `protocol`); what stands under `predictions` (one object a
    clip) goes to `evals/NAME.predictions.jsonl`.
    """

    name: str

    def __call__(self, learner: nnx.Module, step: int) -> Mapping[str, Any]:
        """Measures the learner as it is after `step` steps."""


def learner_of(graphdef: Any, state: TrainState) -> nnx.Module:
    """The learner with the moving average of its parameters where one is kept, else the parameters.

    It shares the state's buffers, so it ends with the next step.
    """
    params = state.params if state.ema is None else state.ema
    return nnx.merge(graphdef, params, state.variables)


def assess(evaluators: Sequence[Evaluator], learner: nnx.Module, step: int, workdir: Path) -> dict[str, float]:
    """Runs those evaluators that have not yet spoken on this step.

    Returns:
      Their metrics as `eval/NAME/METRIC`.
    """
    row = {}
    for evaluator in evaluators:
        path = workdir / "evals" / f"{evaluator.name}.json"
        if _step_of(path) == step:
            continue
        answer = dict(evaluator(learner, step))
        predictions = answer.pop("predictions", None)
        row |= {f"eval/{evaluator.name}/{name}": value for name, value in answer.get("metrics", {}).items()}
        if jax.process_index() == 0:
            if predictions is not None:
                write_lines(path.with_name(f"{evaluator.name}.predictions.jsonl"), predictions)
            write_whole(path, json.dumps({**answer, "checkpoint_step": step}, indent=2) + "\n")
    return row


def _step_of(path: Path) -> int | None:
    """The step that a file of `evals/` is about; None where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8")).get("checkpoint_step")
    except (OSError, ValueError):
        return None
