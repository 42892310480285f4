"""Rules by which a run stops because its clips can't be read: a step without any, or most of an epoch.

One bad clip leaves its place empty, and the run goes on. A whole step of them is another matter: storage is gone, or
the corpus isn't what it was; a run that went on would train on nothing and keep checkpoints of it. Every process comes
to the same end, since clips are counted over the whole batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmvideo.input.planning.epoch_plan import Planned


class UnreadableError(ValueError):
    """A step, or most of an epoch, couldn't be read: how much of it, the first reason, and what to do."""


class UnreadableClips:
    """Counts the clips of an epoch that gave nothing, from the step on from which the run starts.

    Args:
      batches: may tell by `planned(step)` what a step was to read, and has `skipped`; without the first nothing is
        looked at.
    """

    def __init__(self, batches: Any):
        self._planned, self._batches = getattr(batches, "planned", None), batches
        self._epoch, self._lost = -1, 0

    def check(self, step: int, clips: int) -> None:
        """Looks at how many clips a batch held, over all processes.

        A step of a single clip says no more than that clip does, so only its epoch counts.

        Args:
          step: steps done, so that `step - 1` is the number of the batch.
          clips: that the batch held.

        Raises:
          UnreadableError: none of several, or of the epoch most of the clips are lost.
        """
        if self._planned is None:
            return
        planned: Planned = self._planned(step - 1)
        if planned.epoch != self._epoch:
            self._epoch, self._lost = planned.epoch, 0
        self._lost += planned.clips - clips
        if not clips and planned.clips > 1:
            raise UnreadableError(f"step {step}: none of its {planned.clips} clips could be read{self._why()}")
        if 2 * self._lost > planned.of:
            lost = f"{self._lost} of the {planned.of} clips of epoch {planned.epoch}"
            raise UnreadableError(f"step {step}: {lost} could not be read{self._why()}")

    def _why(self) -> str:
        """The newest reason that this process knows, and what to do."""
        known = list(self._batches.skipped)
        told = f" ({known[-1][0]}: {known[-1][1]})" if known else " (another process lists the reasons)"
        return (
            f"{told}; nothing would be trained on. All are in skipped.jsonl: bring storage back, copy the corpus again "
            "or build it anew, and run the same command to go on from the last checkpoint"
        )
