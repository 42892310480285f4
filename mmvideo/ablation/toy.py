"""The common settings of toy tiers: plain sounding shapes, and a model that learns from them in a minute or two.

A run takes `STEPS` steps of 64 clips with the model `SMALL` at one learning rate, enough to learn a label of the shapes
(`tests/learning/` has the lessons). Suites change only what they vary, so their toy tables may be compared.

`accelerator` derives the same tables at a size for one GPU: one function enlarges every finished cell, so that cells
keep the relations of the toy tier.
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
"""3,000 training clips of at most two seconds, without distractors or noise, and 400 test clips."""

CORPORA = "corpora/ablations"
"""Folder of generated corpora, relative to the folder in which `mmvideo ablate` is called."""

SMALL = Model(
    depth=3,
    width=96,
    heads=4,
    feed_forward=384,
    compute="float32",
    position="sincos",
    decoder=Decoder(depth=1, width=48, heads=4),
)
"""A transformer large enough to learn the shapes."""

STEPS, RATE = 160, 3e-3

WIDER, LONGER, MORE_ROWS, MORE_CLIPS, SLOWER = 8, 10, 4, 20, 3
"""Factors from the toy's cells to the accelerator's: width, steps, rows of a batch, training clips; rate divisor."""

CLASSES = {kind: len(names) for kind, names in LABELS.items()} | {"noun": len(SHAPES), "instrument": len(TIMBRES)}

LOG_MEL = Spectrogram(kind="log_mel", window_seconds=0.04, hop_seconds=0.02, bins=64, mean=-1.1, deviation=1.5)
"""64 mel bins every 20 ms, fine enough for the beeps."""


def toy_input(corpus: Corpus = PLAIN, **changes: Any) -> Input:
    """Return the input of a toy run: clips of two seconds, two in each of 32 rows.

    A clip has 48 tubelets of a sixth of a second, and 25 audio patches of 80 ms.

    Args:
      corpus: corpus of the clips.
      changes: fields of `Input` that replace the defaults; the row length then fits two clips (`fitted`).
    """
    usual = Input(
        sources=(Source(f"{CORPORA}/{corpus.name}"),),
        video=Video(fps=12.0, frames=24, size=32, tubelet=(2, 16, 16)),
        audio=Audio(seconds=2.0, spectrogram=LOG_MEL, patch=(4, 64)),
        text=None,
        # 12 tubelet times x 2 x 2 patches of 16 pixels = 48; 100 hops of 20 ms / 4 = 25. Two clips: 2 * 73 = 146.
        packing=Packing(rows=32, tokens=146, clips=2),
        threads=1,
    )
    return fitted(dataclasses.replace(usual, **changes))


def words() -> Text:
    """Return the text settings: a caption of at most 32 tokens of the corpus's own vocabulary."""
    return Text(length=32, begin=True, vocabulary=PLAIN.vocabulary)


def fitted(config: Input) -> Input:
    """Return the input with the shortest rows that hold as many of the largest clips as a row has slots."""
    # Asked with rows that are long enough for anything, the outline says how many tokens the largest clip needs.
    room = dataclasses.replace(config.packing, tokens=2**20)
    need = batch_outline(dataclasses.replace(config, packing=room)).need["tokens"]
    return dataclasses.replace(config, packing=dataclasses.replace(room, tokens=config.packing.clips * need))


def refitted(fields: Mapping[str, Any]) -> Change:
    """Return a change of fields after which rows are `fitted` again, so that fewer tokens cost less."""

    def change(experiment: Experiment) -> Experiment:
        experiment = override(experiment, fields)
        return dataclasses.replace(experiment, input=fitted(experiment.input))

    return change


def toy_training(steps: int = STEPS) -> Training:
    """Return the training settings: Muon, warm-up over a tenth of the steps, one checkpoint at the end."""
    return Training(
        steps=steps,
        optimizer=Optimizer(name="muon", learning_rate=RATE, warmup=steps // 10),
        log_every=20,
        save_every=steps,
        keep=1,
        tensorboard=False,
    )


def label_config(label: str, modalities: tuple[str, ...] = ("video", "audio"), **settings: Any) -> Classification:
    """Return the objective that classifies one label field of the shapes."""
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
    """Return the base experiment of a toy study.

    Args:
      name: name of the experiment.
      objectives: training objectives.
      fusion: fusion of `SMALL`.
      config: input; None is `toy_input()`.
      steps: training steps.
      evaluation: fields of `Evaluation`; name the `tasks`, so that no time goes into others.
    """
    return Experiment(
        name=name,
        input=toy_input() if config is None else config,
        model=dataclasses.replace(SMALL, fusion=fusion),
        objectives=dict(objectives),
        training=toy_training(steps),
        # Cheap defaults for runs of a minute; a suite overrides them by name.
        evaluation=Evaluation(**{"dual_softmax": None, "gallery": 1, "probe_clips": 1000} | evaluation),
    )


def accelerator(tier: Tier) -> Tier:
    """Return a toy tier at a size for one accelerator of 40 GB or more.

    Labels are those of the toy tier: where a label names a batch size or a number of steps, the real one is `MORE_ROWS`
    or `LONGER` times as large. No page in this repository shows this tier: it was planned, and not run. Decoding the
    small generated clips asks more of the host than a step asks of the device, so the run takes far longer than the
    planned hours, which count matrix products alone.

    Args:
      tier: toy tier; its studies, claims and seeds stay.
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
    """Return the study with cells that are `scaled` after all other changes, by the choice of the last axis."""
    *first, last = study.axes
    # Choices are applied axis by axis, so the last axis sees the complete toy cell. Scaling any earlier would let a
    # later choice put a toy value back, such as 160 steps.
    choices = tuple(dataclasses.replace(choice, change=_then_scaled(choice.change)) for choice in last.choices)
    return dataclasses.replace(study, axes=(*first, Axis(last.name, choices)))


def _then_scaled(change: Change | None) -> Change:
    """Return the change followed by `scaled`."""
    return scaled if change is None else lambda experiment: scaled(change(experiment))


def scaled(experiment: Experiment) -> Experiment:
    """Return a toy cell enlarged by fixed factors: width, steps, rows, and training clips.

    Heads become 64 wide where that divides the width, and matrix products use bfloat16. Depth, tokens per clip and
    clips per row stay.
    """
    config, training = experiment.input, experiment.training
    sources = tuple(dataclasses.replace(source, path=_path_of_larger(source.path)) for source in config.sources)
    packing = dataclasses.replace(config.packing, rows=config.packing.rows * MORE_ROWS)
    optimizer = dataclasses.replace(
        training.optimizer,
        learning_rate=training.optimizer.learning_rate / SLOWER,
        # Warm-up stays a tenth of the steps: 16 of 160 becomes 160 of 1,600.
        warmup=training.optimizer.warmup * LONGER,
    )
    return dataclasses.replace(
        experiment,
        input=dataclasses.replace(config, sources=sources, packing=packing, threads=2),
        model=_wider(experiment.model) if isinstance(experiment.model, Model) else experiment.model,
        training=dataclasses.replace(
            training,
            steps=training.steps * LONGER,
            # Still one checkpoint at the end: 160 of 160 steps becomes 1,600 of 1,600.
            save_every=training.save_every * LONGER,
            log_every=training.log_every * LONGER,
            optimizer=optimizer,
        ),
    )


def _wider(model: Model) -> Model:
    """Return the model with `WIDER` times the width."""
    now, decoder = model_dims(model), model.decoder
    # The encoder goes from 96 to 768 with 768 / 64 = 12 heads, the decoder from 48 to 384 with 6 heads.
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
    """Return the number of heads of width 64; the previous number where 64 does not divide the width."""
    return before if width % 64 else width // 64


def _larger(corpus: Corpus) -> Corpus:
    """Return the corpus with `MORE_CLIPS` times the training clips; the test clips stay."""
    return dataclasses.replace(corpus, name=f"{corpus.name}-large", train=corpus.train * MORE_CLIPS)


def _path_of_larger(path: str) -> str:
    """Return the path of the enlarged generated corpus; other paths are unchanged."""
    return f"{path}-large" if path.startswith(f"{CORPORA}/") else path
