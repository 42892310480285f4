"""Stop of a run that cannot read its clips: none of a step, or most of an epoch.

One unreadable clip leaves its slots empty, and the run goes on. If all clips of a step are unreadable, the storage is
gone or the corpus has changed; the run would train on nothing and save checkpoints of it. Clips are counted over the
whole batch, so every process reaches the same decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmvideo.input.planning.epoch_plan import Planned


class UnreadableError(ValueError):
    """A step, or most of an epoch, could not be read; the message has the counts, a reason and the remedy."""


class UnreadableClips:
    """Counter of an epoch's unreadable clips, from the step at which the run starts.

    Args:
      batches: has `skipped`, and may have `planned(step)`, the plan of a step; without `planned` nothing is checked.
    """

    def __init__(self, batches: Any):
        self._planned, self._batches = getattr(batches, "planned", None), batches
        self._epoch, self._lost = -1, 0

    def check(self, step: int, clips: int) -> None:
        """Check the number of clips that a batch held, over all processes.

        A step with a single clip is not judged alone; it only counts for its epoch.

        Args:
          step: steps done, so that `step - 1` is the number of the batch.
          clips: number of clips in the batch.

        Raises:
          UnreadableError: none of several clips could be read, or most clips of the epoch are lost.
        """
        if self._planned is None:
            return
        planned: Planned = self._planned(step - 1)
        # A batch that spans two epochs counts for the first one.
        if planned.epoch != self._epoch:
            self._epoch, self._lost = planned.epoch, 0
        self._lost += planned.clips - clips
        if not clips and planned.clips > 1:
            raise UnreadableError(f"step {step}: none of its {planned.clips} clips could be read{self._why()}")
        # 60 of 100 clips of an epoch: 120 > 100 stops the run, wherever in the epoch it is.
        if 2 * self._lost > planned.of:
            lost = f"{self._lost} of the {planned.of} clips of epoch {planned.epoch}"
            raise UnreadableError(f"step {step}: {lost} could not be read{self._why()}")

    def _why(self) -> str:
        """Return the newest reason that this process knows, and the remedy."""
        known = list(self._batches.skipped)
        told = f" ({known[-1][0]}: {known[-1][1]})" if known else " (another process lists the reasons)"
        return (
            f"{told}; nothing would be trained on. All are in skipped.jsonl: bring storage back, copy the corpus again "
            "or build it anew, and run the same command to go on from the last checkpoint"
        )
