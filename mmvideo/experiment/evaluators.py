"""The evaluators that an experiment's settings request."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mmvideo.datasets.corpus import SAMPLES, open_corpus, splits
from mmvideo.datasets.shapes import known_facts, known_oracle
from mmvideo.evaluation.config import TASKS
from mmvideo.evaluation.retrieval.reranking import matching_of
from mmvideo.evaluation.runner import Evaluator, SubsetEvaluator
from mmvideo.evaluation.tasks.captioning import CaptioningEvaluator, QuestionAnsweringEvaluator
from mmvideo.evaluation.tasks.classification import ClassificationEvaluator, RegressionEvaluator
from mmvideo.evaluation.tasks.dense_captioning import DenseCaptioningEvaluator
from mmvideo.evaluation.tasks.held_out_losses import LossEvaluator
from mmvideo.evaluation.tasks.moment_retrieval import MomentRetrievalEvaluator
from mmvideo.evaluation.tasks.retrieval import ProbeEvaluator, RetrievalEvaluator
from mmvideo.evaluation.tasks.zero_shot import ZeroShotEvaluator
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.missing_modalities import never_missing
from mmvideo.input.config import Source, Views
from mmvideo.input.pipeline import Batches
from mmvideo.objectives import Captioning, Classification, Contrastive, Moments, Regression
from mmvideo.stream import MODALITIES

HELD_OUT = ("test", "validation", "val")
"""Names of splits that count as held out where none is configured, in order of preference."""


def held_out(experiment: Experiment) -> tuple[Source, ...]:
    """Return the configured evaluation sources, or else the held-out split of each training source that has one."""
    if experiment.evaluation.sources:
        return experiment.evaluation.sources
    found = []
    for source in experiment.input.sources:
        there = splits(source.path)
        # The first match only: a corpus with splits train, val and test is evaluated on test.
        found += [Source(source.path, name) for name in HELD_OUT if name in there][:1]
    return tuple(found)


def held_out_source(named: str) -> Source:
    """Return the corpus and split of `CORPUS:SPLIT` or `samples:NAME:SPLIT`; without a split, the held-out one.

    Raises:
      ValueError: an unknown corpus or split, or a corpus without a held-out split.
    """
    # "corpora/a:test" splits at its colon; "samples:film" would leave "samples", so its colon is part of the name.
    path, colon, split = named.rpartition(":")
    if not colon or path == "samples":
        path, split = named, ""
    there = splits(path)
    chosen = split or next((name for name in HELD_OUT if name in there), "")
    if chosen not in there:
        what = f"has no split '{split}'" if split else "has no held-out split; name one after a colon"
        raise ValueError(f"{path} {what}; it has {', '.join(there)}")
    return Source(path, chosen)


def shown_batches(experiment: Experiment, assets: Mapping[str, bytes], masked: bool = False) -> Batches:
    """Return one pass over the clips of a report: held-out clips, or training clips where there are none."""
    return _one_pass(experiment, held_out(experiment) or experiment.input.sources, assets, masked=masked)


def evaluators(experiment: Experiment, assets: Mapping[str, bytes], dataset: str | None = None) -> list[Evaluator]:
    """Return the evaluators of `experiment.evaluation`.

    Args:
      experiment: the settings.
      assets: files stored with the checkpoints: tokenizer, classes, spectrogram statistics.
      dataset: name of the clips, if they are not the run's own evaluation clips.

    Raises:
      ValueError: an unknown held-out corpus or split, a label field that it lacks, or a task that the objectives cannot
        answer.
    """
    wanted = experiment.evaluation
    tasks = [name for name in TASKS if name in (TASKS if wanted.tasks is None else wanted.tasks)]
    sources = held_out(experiment)
    if not sources:
        print("nothing is evaluated: no source has a test or validation split; name some in evaluation.sources")
        return []
    clips = HeldOut(experiment, dict(assets), sources)
    made = [(name, evaluator) for name in tasks for evaluator in EVALUATORS[name](clips)]
    idle = sorted(set(wanted.tasks or ()) - {name for name, _ in made})
    if idle:
        kinds = ", ".join(objective.kind for objective in experiment.objectives.values())
        switch = f", and evaluation.{idle[0]} may be off" if hasattr(wanted, idle[0]) else ""
        raise ValueError(
            f"evaluation.tasks names {idle[0]}, which this run cannot answer: its objectives are {kinds}{switch}"
        )
    found, shown = [evaluator for _, evaluator in made], shown_modalities(experiment)
    if shown is not None or dataset is not None:
        unseen = () if shown is None else never_missing(experiment, shown)
        # Wrapped, so that results go to evals/NAME.video+text.json or evals/NAME@CORPUS.json beside those of the run
        # itself.
        found = [SubsetEvaluator(evaluator, shown, dataset, unseen) for evaluator in found]
    for group in wanted.subsets:
        if not clips.have(group.split("+")):
            print(f"nothing is evaluated with {group} alone: no clip of {clips.named['dataset']} has any of it")
            continue
        # Subsets ["video", "video+audio"] build each evaluator again with only these modalities shown. tasks=None makes
        # all that are possible there, instead of an error for a task that needs a hidden modality; the wanted ones are
        # then selected.
        alone = dataclasses.replace(wanted, modalities=tuple(group.split("+")), subsets=(), tasks=None)
        some = evaluators(dataclasses.replace(experiment, evaluation=alone), assets, dataset)
        found += [one for one in some if wanted.tasks is None or one.evaluator.name in wanted.tasks]
    return found


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The held-out clips of an experiment, as batches for each task.

    Batches are built on first use and shared by the tasks.

    Attributes:
      experiment: the settings.
      assets: files stored with the checkpoints.
      sources: corpora of the clips.
    """

    experiment: Experiment
    assets: Mapping[str, bytes]
    sources: tuple[Source, ...]

    @property
    def named(self) -> dict[str, str]:
        """Dataset and split names, such as {"dataset": "clips+films", "split": "test"}."""
        return {
            "dataset": "+".join(dict.fromkeys(Path(source.path).name for source in self.sources)),
            "split": "+".join(dict.fromkeys(source.split for source in self.sources)),
        }

    @functools.cached_property
    def single_view(self) -> Batches:
        """One view of each clip with all shown modalities."""
        return self.batches(modalities=shown_modalities(self.experiment))

    @functools.cached_property
    def multi_view(self) -> Batches:
        """All views of each clip."""
        views = self.experiment.evaluation.views
        # The same object, so that single-view tasks and this one share an opened corpus.
        if views == Views():
            return self.single_view
        return self.batches(modalities=shown_modalities(self.experiment), views=views)

    @functools.cached_property
    def without_text(self) -> Batches:
        """One view of each clip without its text, as input for captioning."""
        there = [name for name in MODALITIES if getattr(self.experiment.input, name) is not None]
        shown = shown_modalities(self.experiment) or there
        return self.batches(modalities=tuple(name for name in shown if name != "text"))

    def have(self, modalities: Sequence[str]) -> bool:
        """Return True if some clip has one of these modalities."""
        corpus = self.single_view.corpus
        has = {"video": corpus.has_video.any(), "audio": corpus.has_audio.any()}
        return any(has[name] if name in has else any(corpus.all_captions()) for name in modalities)

    @property
    def shows_media(self) -> bool:
        """True if a modality other than text is shown, so that there is something to caption."""
        shown = shown_modalities(self.experiment)
        return shown is None or shown != ("text",)

    @property
    def tells_events(self) -> bool:
        """True if captions are events with time tokens."""
        batches = self.without_text
        timed = batches.tokenizer is not None and batches.tokenizer.time_tokens > 0
        return timed and any(batches.corpus.events(number) for number in range(len(batches.corpus)))

    def batches(self, embeddings: str | None = None, masked: bool = False, **options: Any) -> Batches:
        """Return one pass over the clips; only losses use the embeddings of a teacher."""
        return _one_pass(self.experiment, self.sources, self.assets, embeddings, masked, **options)

    def objectives(self, kind: type) -> dict[str, Any]:
        """Return the objectives of one class, by name."""
        return {name: one for name, one in self.experiment.objectives.items() if isinstance(one, kind)}


def _retrieval(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the retrieval evaluator if there is a contrastive objective."""
    wanted = clips.experiment.evaluation
    if wanted.retrieval and has_contrastive(clips.experiment):
        if wanted.rerank:
            matching_of(clips.experiment.objectives)  # Fails here, before training, if no objective can re-rank.
        yield RetrievalEvaluator(
            clips.single_view,
            **clips.named,
            oracle=_oracle(clips.single_view),
            captions=wanted.captions,
            dual_softmax=wanted.dual_softmax,
            rerank=wanted.rerank,
            modalities=shown_modalities(clips.experiment),
        )


def _zero_shot(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the zero-shot evaluator if prompts are configured."""
    wanted = clips.experiment.evaluation
    if wanted.zero_shot:
        yield ZeroShotEvaluator(clips.single_view, wanted.zero_shot, **clips.named, prompts=wanted.prompts)


def _classification(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the classification evaluator if there is a classification objective."""
    wanted = clips.experiment.evaluation
    if clips.objectives(Classification):
        actions = [tuple(action.split("+")) for action in wanted.actions]
        classes = clips.multi_view.classes
        yield ClassificationEvaluator(clips.multi_view, classes, **clips.named, average=wanted.average, actions=actions)


def _regression(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the regression evaluator if there is a regression objective."""
    if clips.objectives(Regression):
        yield RegressionEvaluator(clips.multi_view, **clips.named)


def _captioning(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the captioning evaluator if captions are plain texts."""
    for name in _first(clips.objectives(Captioning) if clips.shows_media else {}, lambda one: not one.answers):
        if clips.tells_events:
            return
        references = clips.without_text.corpus.all_captions()
        yield CaptioningEvaluator(
            clips.without_text,
            name,
            references,
            **clips.named,
            decoding=clips.experiment.evaluation.decoding,
            training=_training_captions(clips.experiment),
            facts=known_facts([own[0] for own in references if own]),
            together=(("colour", "shape", "motion"),),
        )


def _training_captions(experiment: Experiment) -> set[str] | None:
    """Return the training captions; None, with a printed line, if a corpus is not on this machine."""
    sources = experiment.input.sources
    if gone := _gone(sources):
        print(f"captioning: novel is left out, which needs the training captions: {gone} isn't here")
        return None
    tables = [open_corpus(source.path, source.split).table for source in sources]
    return {caption for table in tables for several in table.captions for caption in several}


def _gone(sources: Sequence[Source]) -> str | None:
    """Return the first corpus folder that is missing here, as after a model was copied from another machine."""
    named = (source.path for source in sources if not source.path.startswith(SAMPLES))
    return next((path for path in named if not Path(path).expanduser().exists()), None)


def _dense_captioning(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the dense captioning evaluator if captions are events with time tokens."""
    for name in _first(clips.objectives(Captioning) if clips.shows_media else {}, lambda one: not one.answers):
        if clips.tells_events:
            yield DenseCaptioningEvaluator(
                clips.without_text, name, **clips.named, decoding=clips.experiment.evaluation.decoding
            )


def _question_answering(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the question answering evaluator if an objective answers questions."""
    for name in _first(clips.objectives(Captioning), lambda one: one.answers):
        references = clips.single_view.corpus.all_captions()
        yield QuestionAnsweringEvaluator(
            clips.single_view, name, references, **clips.named, decoding=clips.experiment.evaluation.decoding
        )


def _moments(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the moment retrieval evaluator if there is such an objective."""
    for name in _first(clips.objectives(Moments), lambda one: True):
        yield MomentRetrievalEvaluator(clips.multi_view, name, **clips.named)


def _losses(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the evaluator of held-out losses."""
    wanted, embeddings = clips.experiment.evaluation, clips.experiment.input.embeddings
    if wanted.losses and embeddings and not Path(embeddings).exists() and "losses" not in (wanted.tasks or ()):
        print(f"losses: left out, since one compares with the embeddings of another model: {embeddings} isn't here")
    elif wanted.losses:
        # Masked as in training, since masked prediction has no loss on a clip without a mask.
        options = {"modalities": shown_modalities(clips.experiment), "misaligned": wanted.misaligned}
        yield LossEvaluator(clips.batches(embeddings, masked=True, **options), **clips.named)


def _probes(clips: HeldOut) -> Iterator[Evaluator]:
    """Yield the linear probes that are configured."""
    wanted = clips.experiment.evaluation
    if not wanted.probes:
        return
    test, name = clips.single_view, clips.named["dataset"]
    lacking = sorted(set(wanted.probes) - set(test.annotations.single))
    if lacking:
        have = ", ".join(test.annotations.single) or "none"
        raise ValueError(f"evaluation.probes names the label '{lacking[0]}', which {name} lacks; it has: {have}")
    sources, shown = clips.experiment.input.sources, shown_modalities(clips.experiment)
    # A task that was requested by name fails with an error; one that is on by default is left out with a printed line.
    if (gone := _gone(sources)) and "probes" not in (wanted.tasks or ()):
        print(f"probes: left out, since they are trained on the training clips: {gone} isn't here")
        return
    train = _one_pass(clips.experiment, sources, clips.assets, modalities=shown)
    known = {"classes": test.classes, "oracle": _oracle(test)}
    yield ProbeEvaluator(train, test, wanted.probes, **clips.named, clips=wanted.probe_clips, **known)


EVALUATORS: dict[str, Callable[[HeldOut], Iterator[Evaluator]]] = {
    "retrieval": _retrieval,
    "zero_shot": _zero_shot,
    "classification": _classification,
    "regression": _regression,
    "captioning": _captioning,
    "dense_captioning": _dense_captioning,
    "question_answering": _question_answering,
    "moments": _moments,
    "losses": _losses,
    "probes": _probes,
}
"""Evaluators of each task; a function yields none where the experiment does not request or cannot answer the task."""


def _first(objectives: Mapping[str, Any], fits: Callable[[Any], bool]) -> list[str]:
    """Return the name of the first objective that matches, if any."""
    # A list of at most one name, so that callers loop instead of testing for None.
    return [name for name, one in objectives.items() if fits(one)][:1]


def shown_modalities(experiment: Experiment) -> tuple[str, ...] | None:
    """Return the modalities that evaluation shows, in canonical order; None for all."""
    asked = experiment.evaluation.modalities
    # The appended name gives unknown modalities the last index instead of an error here; a later check names them.
    return None if asked is None else tuple(sorted(asked, key=lambda name: [*MODALITIES, name].index(name)))


def has_contrastive(experiment: Experiment) -> bool:
    """Return True if an objective embeds modalities into one space, so that there is something to retrieve."""
    return any(isinstance(objective, Contrastive) for objective in experiment.objectives.values())


def _oracle(batches: Batches) -> dict[str, float] | None:
    """Return the scores of the best possible model for generated clips; None for other clips."""
    corpora = batches.corpus.corpora
    return known_oracle([corpus.attributes(clip) for corpus in corpora for clip in range(len(corpus))])


def _one_pass(
    experiment: Experiment,
    sources: tuple[Source, ...],
    assets: Mapping[str, bytes],
    embeddings: str | None = None,
    masked: bool = False,
    **options: Any,
) -> Batches:
    """Return one pass over some sources without shuffling or augmentation."""
    return Batches(
        dataclasses.replace(experiment.input, sources=sources, embeddings=embeddings),
        masked=masked,
        train=False,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        assets=assets,
        **options,
    )
