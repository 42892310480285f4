"""Stop of a run whose steps are repeatedly non-finite or spikes."""

from __future__ import annotations

import math
from collections.abc import Mapping


class NonFiniteError(ValueError):
    """Several steps in a row were not finite; the message names the step and the objectives."""


class SpikeError(ValueError):
    """Several steps in a row were skipped, the last one as a spike; the message gives the step and the size of the
    spike."""


def check(step: int, metrics: Mapping[str, float], patience: int) -> None:
    """Check one step's metrics on the host.

    Args:
      step: number of the batch.
      metrics: result of `make_step`; `bad_in_a_row` counts across a resume.
      patience: skipped steps in a row that stop the run.

    Raises:
      NonFiniteError: the last step was not finite; the message names the step and the objectives, or "the gradient" if
        every loss is finite.
      SpikeError: the last step was finite; the message has its loss and gradient beside the usual ones.
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
    """Return the names of the objectives with a non-finite loss; "the total" if only the sum is not finite."""
    # `train/contrastive/loss` is the loss of `contrastive`; `train/contrastive/accuracy` is no loss.
    losses = {name.split("/")[1]: value for name, value in metrics.items() if _is_objective_loss(name)}
    names = [name for name, value in losses.items() if not math.isfinite(value)]
    if not names and not math.isfinite(metrics["train/loss"]):
        return ["the total"]
    return names


def _is_objective_loss(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 3 and parts[0] == "train" and parts[2] == "loss"
