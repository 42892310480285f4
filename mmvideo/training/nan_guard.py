"""When a run must stop because its numbers are not finite, or no longer like those before."""

from __future__ import annotations

import math
from collections.abc import Mapping


class NonFiniteError(ValueError):
    """Several steps in a row were not finite: which step, and which objectives' losses."""


class SpikeError(ValueError):
    """Several steps in a row were skipped, the last one as a spike: which step, and by how much it stands out."""


def check(step: int, metrics: Mapping[str, float], patience: int) -> None:
    """Looks at one step's metrics on the host.

    Args:
      step: number of the batch.
      metrics: as `make_step` gives them; `bad_in_a_row` counts across a resume.
      patience: skipped steps in a row that stop the run.

    Raises:
      NonFiniteError: naming the step and the objectives; "the gradient" where every loss is finite.
      SpikeError: the last of them was finite; naming the step, and its loss and gradient beside the usual ones.
    """
    if metrics["bad_in_a_row"] < patience:
        return
    if metrics.get("spike"):
        raise SpikeError(_spike(step, metrics))
    names = nonfinite_metrics(metrics)
    what = f"the loss of {', '.join(names)}" if names else "the gradient, though every loss is finite,"
    raise NonFiniteError(
        f"step {step}: {what} is not finite, {int(metrics['bad_in_a_row'])} steps in a row; "
        "parameters are those of the last good step. Lower optimizer.learning_rate, set optimizer.clip, "
        "or look at the clips of these steps"
    )


def _spike(step: int, metrics: Mapping[str, float]) -> str:
    return (
        f"step {step}: a spike, the last of {int(metrics['bad_in_a_row'])} steps in a row that were skipped: loss "
        f"{metrics['train/loss']:.4g} where {metrics['usual_loss']:.4g} is usual, gradient norm "
        f"{metrics['grad_norm']:.4g} where {metrics['usual_norm']:.4g} is; parameters are those of the last step that "
        "counted. Look at the clips of these steps, raise the factors of training.spike if the loss may rise so far, "
        "or lower optimizer.learning_rate in a new run"
    )


def nonfinite_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Names of the objectives whose loss is not finite; "the total" if none of them explains it."""
    losses = {name.split("/")[1]: value for name, value in metrics.items() if _is_objective_loss(name)}
    names = [name for name, value in losses.items() if not math.isfinite(value)]
    if not names and not math.isfinite(metrics["train/loss"]):
        return ["the total"]
    return names


def _is_objective_loss(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 3 and parts[0] == "train" and parts[2] == "loss"
