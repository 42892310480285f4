"""Settings of evaluation: the clips, and the tasks."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmvideo.input.config import Source, Views
from mmvideo.objectives.generation.config import Decoding

TASKS = (
    "retrieval", "zero_shot", "classification", "regression", "captioning", "dense_captioning",
    "question_answering", "moments", "losses", "probes",
)  # fmt: skip
"""Names of the evaluation tasks, in the order in which they run."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Settings of evaluation at the end of a run, every `training.evaluate_every` steps, and by `mmvideo eval`.

    Attributes:
      sources: Sources of held-out clips. Empty takes the `test` split of each training source, or its `validation`
        split. A source with neither has nothing to evaluate on.
      tasks: Tasks to run, names of `TASKS`. None runs all that the objectives can answer and the switches below allow.
      views: Views of every clip, for classes, numbers and moments. Predictions from several views are averaged.
      average: Quantity that is averaged over views: class `probabilities`, or `logits`.
      actions: Groups of classification objectives that must be right together, such as `verb+noun`.
      decoding: Settings of text generation for captions and answers.
      retrieval: True to measure retrieval between every pair of modalities.
      captions: Texts of a clip in retrieval: the `first` caption (MSR-VTT 1k-A), `all` captions, each as a query
        (MSVD), or all as one `paragraph` (DiDeMo, ActivityNet), which `input.text.length` cuts.
      dual_softmax: Scale of the cosines in the dual softmax, whose metrics have rows of their own. None leaves them
        out.
      rerank: Number of candidates of each query that a matching objective scores again, in rows of their own. 0 turns
        it off.
      zero_shot: Kinds of label to predict from class names, by the embeddings of prompts.
      prompts: Prompts of zero-shot classification, each with `{}` for the class name.
      probes: Kinds of label that a linear and a k-NN probe predict from frozen features.
      probe_clips: Largest number of training clips of a probe.
      losses: True to measure the losses of all objectives on held-out clips, with the masks of training.
      gallery: Number of queries shown in the report.
      modalities: Modalities of a clip that the model sees. None is all that it has. Results with some of them are
        written to separate files, such as `evals/NAME.video+text.json`.
      subsets: Groups of modalities, such as `video` and `video+text`; every task runs again with each group alone.
      misaligned: True to measure the losses with as much shifted audio as in training (`input.audio.misaligned`), False
        with none.
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
