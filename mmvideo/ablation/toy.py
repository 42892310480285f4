"""What the toy tiers have in common: plain sounding shapes, and a model that learns from them in a minute or two.

A run takes `STEPS` steps of 64 clips, with `SMALL`, at one learning rate, which is enough for a label of shapes to be
learned (`tests/learning/` has the lessons). Suites change what they vary and no more, so their toy tables may be read
beside each other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mmvideo.ablation.fields import with_fields
from mmvideo.ablation.suite import Change, Corpus
from mmvideo.datasets.shapes.attributes import LABELS, SHAPES, TIMBRES
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.outline import outline
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Decoder, Fusion, Model
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
    need = outline(dataclasses.replace(config, packing=room)).need["tokens"]
    return dataclasses.replace(config, packing=dataclasses.replace(room, tokens=config.packing.clips * need))


def refitted(fields: Mapping[str, Any]) -> Change:
    """A change of fields after which rows are `fitted` again: what makes fewer tokens then costs less."""

    def change(experiment: Experiment) -> Experiment:
        experiment = with_fields(experiment, fields)
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


def tells(label: str, modalities: tuple[str, ...] = ("video", "audio"), **settings: Any) -> Classification:
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
