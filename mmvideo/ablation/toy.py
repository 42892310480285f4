"""What the toy tiers have in common: plain sounding shapes, and a model that learns from them in a minute or two.

A run takes `STEPS` steps of 64 clips, with `SMALL`, at one learning rate, which is enough for a label of shapes to be
learned (`tests/learning/` has the lessons). Suites change what they vary and no more, so their toy tables may be read
beside each other.

`accelerator` makes the same tables at a size for one GPU: every finished cell is made larger by one function, so that
cells keep the relations that they have in the toy tier.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmvideo.ablation.fields import override
from mmvideo.ablation.suite import Axis, Change, Corpus, Study, Tier
from mmvideo.datasets.shapes.attributes import LABELS, SHAPES, TIMBRES
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import batch_outline
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Decoder, Fusion, Model, model_dims
from mmvideo.objectives import AnyObjective, Classification
from mmvideo.training.config import Optimizer, Training

PLAIN = Corpus("plain")
"""3,000 clips of at most two seconds, without distractors or noise, and 400 held out."""

CORPORA = "corpora/ablations"
"""Where generated corpora lie, below the folder in which `mmvideo ablate` is called."""

SMALL = Model(
    depth=3,
    width=96,
    heads=4,
    feed_forward=384,
    compute="float32",
    position="sincos",
    decoder=Decoder(depth=1, width=48, heads=4),
)
"""A transformer that shapes are within the reach of."""

STEPS, RATE = 160, 3e-3

WIDER, LONGER, MORE_ROWS, MORE_CLIPS, SLOWER = 8, 10, 4, 20, 3
"""What the accelerator's cells have times those of the toy: width, steps, rows of a batch, clips to learn from; and by
what their learning rate is divided."""

CLASSES = {kind: len(names) for kind, names in LABELS.items()} | {"noun": len(SHAPES), "instrument": len(TIMBRES)}

LOG_MEL = Spectrogram(kind="log_mel", window_seconds=0.04, hop_seconds=0.02, bins=64, mean=-1.1, deviation=1.5)
"""64 bins every 20 ms, which is fine enough for the beeps."""


def toy_input(corpus: Corpus = PLAIN, **changes: Any) -> Input:
    """Clips of two seconds, two in a row of 32: 48 tubelets of a sixth of a second, 25 strips of sound of 80 ms.

    Args:
      corpus: where they come from.
      changes: fields of `Input` in place of these; rows are made as long as two clips then need (`fitted`).
    """
    usual = Input(
        sources=(Source(f"{CORPORA}/{corpus.name}"),),
        video=Video(fps=12.0, frames=24, size=32, tubelet=(2, 16, 16)),
        audio=Audio(seconds=2.0, spectrogram=LOG_MEL, patch=(4, 64)),
        text=None,
        packing=Packing(rows=32, tokens=146, clips=2),
        threads=1,
    )
    return fitted(dataclasses.replace(usual, **changes))


def words() -> Text:
    """A caption of at most 32 pieces, of the corpus's own vocabulary."""
    return Text(length=32, begin=True, vocabulary=PLAIN.vocabulary)


def fitted(config: Input) -> Input:
    """The input with rows that hold as many of the largest clips as they have slots, and no token more."""
    room = dataclasses.replace(config.packing, tokens=2**20)
    need = batch_outline(dataclasses.replace(config, packing=room)).need["tokens"]
    return dataclasses.replace(config, packing=dataclasses.replace(room, tokens=config.packing.clips * need))


def refitted(fields: Mapping[str, Any]) -> Change:
    """A change of fields after which rows are `fitted` again: what makes fewer tokens then costs less."""

    def change(experiment: Experiment) -> Experiment:
        experiment = override(experiment, fields)
        return dataclasses.replace(experiment, input=fitted(experiment.input))

    return change


def toy_training(steps: int = STEPS) -> Training:
    """Muon, a tenth of the steps warm-up, one checkpoint at the end."""
    return Training(
        steps=steps,
        optimizer=Optimizer(name="muon", learning_rate=RATE, warmup=steps // 10),
        log_every=20,
        save_every=steps,
        keep=1,
        tensorboard=False,
    )


def label_config(label: str, modalities: tuple[str, ...] = ("video", "audio"), **settings: Any) -> Classification:
    """The objective of telling a kind of label of the shapes."""
    return Classification(label, CLASSES[label], modalities=modalities, **settings)


def toy(
    name: str,
    objectives: Mapping[str, AnyObjective],
    *,
    fusion: Fusion = Fusion("mid", 1),
    config: Input | None = None,
    steps: int = STEPS,
    **evaluation: Any,
) -> Experiment:
    """The base of a toy study.

    Args:
      name: of the experiment.
      objectives: what is learned.
      fusion: of `SMALL`.
      config: of the input; None is `toy_input()`.
      steps: of training.
      evaluation: fields of `Evaluation`; name the `tasks`, so that no time goes into others.
    """
    return Experiment(
        name=name,
        input=toy_input() if config is None else config,
        model=dataclasses.replace(SMALL, fusion=fusion),
        objectives=dict(objectives),
        training=toy_training(steps),
        evaluation=Evaluation(**{"dual_softmax": None, "gallery": 1, "probe_clips": 1000} | evaluation),
    )


def accelerator(tier: Tier) -> Tier:
    """A toy tier at a size that one accelerator of 40 GB or more takes.

    Its labels are those of the toy: a batch or a number of steps that is named by one is `MORE_ROWS` times or `LONGER`
    times what it says. No page in this repository is of this tier: it was planned, and not run. Generated clips are
    small, and decoding them asks more of the host than a step asks of the device: the planned hours, those of products
    alone, are far below what it will take.

    Args:
      tier: the toy's; its studies, claims and seeds stay.
    """
    return dataclasses.replace(
        tier,
        studies=tuple(map(_larger_cells, tier.studies)),
        corpora=tuple(map(_larger, tier.corpora)),
        needs=f"one accelerator; {MORE_CLIPS} times the toy's clips are generated first",
        minutes=0.0,
        before={name: scaled(experiment) for name, experiment in tier.before.items()},
        findings={},
    )


def _larger_cells(study: Study) -> Study:
    """The study with cells that are `scaled` last of all, with the choice of its last axis."""
    *first, last = study.axes
    choices = tuple(dataclasses.replace(choice, change=_then_scaled(choice.change)) for choice in last.choices)
    return dataclasses.replace(study, axes=(*first, Axis(last.name, choices)))


def _then_scaled(change: Change | None) -> Change:
    return scaled if change is None else lambda experiment: scaled(change(experiment))


def scaled(experiment: Experiment) -> Experiment:
    """A toy cell made larger in every respect by the same factors: width, steps, rows, and clips to learn from.

    Heads become 64 wide where that divides the width; products are in bfloat16; depth, tokens of a clip and clips of a
    row stay.
    """
    config, training = experiment.input, experiment.training
    sources = tuple(dataclasses.replace(source, path=_path_of_larger(source.path)) for source in config.sources)
    packing = dataclasses.replace(config.packing, rows=config.packing.rows * MORE_ROWS)
    optimizer = dataclasses.replace(
        training.optimizer,
        learning_rate=training.optimizer.learning_rate / SLOWER,
        warmup=training.optimizer.warmup * LONGER,
    )
    return dataclasses.replace(
        experiment,
        input=dataclasses.replace(config, sources=sources, packing=packing, threads=2),
        model=_wider(experiment.model) if isinstance(experiment.model, Model) else experiment.model,
        training=dataclasses.replace(
            training,
            steps=training.steps * LONGER,
            save_every=training.save_every * LONGER,
            log_every=training.log_every * LONGER,
            optimizer=optimizer,
        ),
    )


def _wider(model: Model) -> Model:
    now, decoder = model_dims(model), model.decoder
    width, below = WIDER * now.width, WIDER * decoder.width
    return dataclasses.replace(
        model,
        width=width,
        heads=_heads(width, now.heads),
        feed_forward=WIDER * now.feed_forward,
        decoder=dataclasses.replace(decoder, width=below, heads=_heads(below, decoder.heads)),
        compute="bfloat16",
    )


def _heads(width: int, before: int) -> int:
    return before if width % 64 else width // 64


def _larger(corpus: Corpus) -> Corpus:
    return dataclasses.replace(corpus, name=f"{corpus.name}-large", train=corpus.train * MORE_CLIPS)


def _path_of_larger(path: str) -> str:
    """The folder of a generated corpus made larger; other corpora stay what they are."""
    return f"{path}-large" if path.startswith(f"{CORPORA}/") else path
