"""Settings of evaluation: on which clips, and what is measured."""

from __future__ import annotations

import dataclasses

from mmvideo.input.config import Source


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is measured at the end of a run, every `training.evaluate_every` steps, and by `mmvideo eval`.

    Attributes:
      sources: the held-out clips; empty takes the `test` split of each training source, or its
        `validation` split; a source with neither has nothing to evaluate on.
      retrieval: whether zero-shot retrieval between every pair of modalities is measured.
      probes: kinds of label that a linear and a k-NN probe predict from frozen features.
      probe_clips: at most so many training clips a probe learns from.
      losses: whether the losses of all objectives are measured, with the masks of training.
      gallery: queries shown in the report.
      modalities: all that is shown of a clip; None shows what it has. What is measured with some of them is
        written beside the rest, as `evals/NAME.video+text.json`.
      misaligned: whether the losses are measured with as much sound shifted as in training
        (`input.audio.misaligned`); otherwise none is.
    """

    sources: tuple[Source, ...] = ()
    retrieval: bool = True
    probes: tuple[str, ...] = ()
    probe_clips: int = 2000
    losses: bool = True
    gallery: int = 4
    modalities: tuple[str, ...] | None = None
    misaligned: bool = False
