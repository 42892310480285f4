"""Settings of evaluation: on which clips, and what is measured."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmvideo.input.config import Source, Views
from mmvideo.objectives.generation.config import Decoding

TASKS = (
    "retrieval", "zero_shot", "classification", "regression", "captioning", "dense_captioning",
    "question_answering", "moments", "losses", "probes",
)  # fmt: skip
"""What can be measured, in the order in which it is."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is measured at the end of a run, every `training.evaluate_every` steps, and by `mmvideo eval`.

    Attributes:
      sources: the held-out clips; empty takes the `test` split of each training source, or its
        `validation` split; a source with neither has nothing to evaluate on.
      tasks: what is measured, names of `TASKS`; None is all that the objectives can answer, as far as the switches
        below allow it.
      views: of every clip, where classes, numbers or moments are told; what several say is averaged.
      average: what of several views is averaged: class `probabilities`, or `logits`.
      actions: classification objectives that are right only together, such as `verb+noun`.
      decoding: how captions and answers are written.
      retrieval: whether retrieval between every pair of modalities is measured.
      captions: the texts that stand for clips in retrieval: the `first` caption of each (MSR-VTT 1k-A), `all`, each a
        query of its own (MSVD), or all as one `paragraph` (DiDeMo, ActivityNet), which `input.text.length` cuts.
      dual_softmax: scale of the cosines in the dual softmax, whose rows stand beside the others; None leaves
        them out.
      rerank: best candidates of each query that a matching objective judges again, in rows of their own; 0 asks none.
      zero_shot: kinds of label that are told from their class names, by the embeddings of prompts.
      prompts: of zero-shot classification, each with the place of a class name, `{}`.
      probes: kinds of label that a linear and a k-NN probe predict from frozen features.
      probe_clips: at most so many training clips a probe learns from.
      losses: whether the losses of all objectives are measured, with the masks of training.
      gallery: queries shown in the report.
      modalities: all that is shown of a clip; None shows what it has. What is measured with some of them is
        written beside the rest, as `evals/NAME.video+text.json`.
      subsets: groups of modalities, such as `video` and `video+text`; all is measured again with each of them alone.
      misaligned: whether the losses are measured with as much sound shifted as in training
        (`input.audio.misaligned`); otherwise none is.
    """

    sources: tuple[Source, ...] = ()
    tasks: tuple[str, ...] | None = None
    views: Views = Views()
    average: Literal["probabilities", "logits"] = "probabilities"
    actions: tuple[str, ...] = ()
    decoding: Decoding = Decoding()
    retrieval: bool = True
    captions: Literal["first", "all", "paragraph"] = "first"
    dual_softmax: float | None = 100.0
    rerank: int = 0
    zero_shot: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ("{}", "a video of {}", "the sound of {}")
    probes: tuple[str, ...] = ()
    probe_clips: int = 2000
    losses: bool = True
    gallery: int = 4
    modalities: tuple[str, ...] | None = None
    subsets: tuple[str, ...] = ()
    misaligned: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.tasks or () if name not in TASKS]
        if unknown:
            raise ValueError(f"evaluation.tasks: there is no task {unknown[0]!r}; there are: {', '.join(TASKS)}")
        for group in self.subsets:
            if not set(group.split("+")) <= {"video", "audio", "text"}:
                raise ValueError(
                    f"evaluation.subsets has {group!r}: name video, audio or text, or several as video+text"
                )
        if self.rerank < 0:
            raise ValueError(f"evaluation.rerank {self.rerank} must be a number of candidates, or 0 for none")
        if self.dual_softmax is not None and not self.dual_softmax > 0:
            raise ValueError(f"evaluation.dual_softmax {self.dual_softmax} must be above 0, or None")
