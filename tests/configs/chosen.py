"""The choices of a recipe that lead through other code, and the twins that take a step, so that each choice is taken.

All recipes are built. A twin takes a step in every run of all tests where it makes a choice that no twin above it in
`STEPPED` and no test of `ELSEWHERE` makes; the other twins take theirs in `tools/test.sh --nightly`.
`test_every_choice_of_a_recipe_is_taken` in test_recipes.py names the choice that a new recipe is the first to make:
add the recipe to `STEPPED`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LEFT_TO_CORPUS = "finetune/folder.py"
"""The recipe whose classes and modalities a corpus decides: `experiment/choices/test_fitting.py` trains it."""

STEPPED = {
    # Fine-tuning recipes, whose twins train, evaluate and report.
    "youcook2": "retrieval, captions, matching, ranking again; three modalities, texts that see what is before them",
    "epic_kitchens100": "actions of a verb and a noun, several views, random augmentation, mixed clips, layer decay",
    "crema_d": "low-rank updates",
    "vggsound": "picture and sound through bottlenecks, noise, the average of the last steps",
    "audioset": "sound alone, several classes of a clip, spectrograms rolled and mixed",
    # The others take a step.
    "vjepa": "latent prediction, blocks hidden, remat",
    "merlot_reserve": "spans of words, masked text, depths of each modality, other spectrograms",
    "vatt_agnostic": "waveforms, late fusion, dropped tokens, MIL-NCE",
    "cnn_lstm": "a baseline",
    "cav_mae": "masked patches of pixels, one direction alone",
    "coca_video": "an encoder of frames, pooled by attention",
    "valor_groups": "groups of modalities",
    "videomae": "tubes hidden, biases of queries and values, sines",
    "vivit_factorised": "an encoder of frames, pooled by class tokens",
}
"""Recipes whose twins take a step in all tests, and what none above them has."""

ELSEWHERE = {
    "evaluation.captions": "evaluation/retrieval/test_texts.py",
    "evaluation.decoding": "objectives/generation/test_beam_search.py",
    "evaluation.losses": "experiment/test_dense.py",
    "evaluation.tasks=dense_captioning": "experiment/test_dense.py",
    "evaluation.tasks=moments": "experiment/test_dense.py",
    "evaluation.tasks=regression": "experiment/test_evaluate.py",
    "input.audio.stride": "input/test_planned.py",
    "input.mixing": "input/transforms/test_mixup.py",
    "input.text.fill": "input/annotations/test_captions.py",
    "input.video.erase": "input/transforms/test_randaugment.py",
    "model.attention_pooling": "model/test_pool.py",
    "model.decoder.class_tokens": "model/test_parts.py",
    # Every fine-tuning twin is computed in float32.
    "model.compute=float32": "configs/test_finetune.py",
    "model.kind=frame_lstm": "experiment/test_baselines.py",
    "model.remat": "model/layers/test_remat.py",
    # A twin has the depth and the width of twins.
    "model.size": "experiment/test_tiny.py",
    "objectives.Captioning.smoothing": "objectives/test_captioning.py",
    "objectives.Classification.dropout": "objectives/test_classification.py",
    "objectives.Contrastive.form": "objectives/losses/test_contrastive_losses.py",
    # The recipe of the quickstart, which all of tests/experiment/ trains.
    "objectives.Contrastive.pair_weights": "experiment/test_run.py",
    "objectives.Contrastive.poolings": "objectives/test_contrastive.py",
    "objectives.Contrastive.projection": "objectives/test_contrastive.py",
    "objectives.Contrastive.temperature": "experiment/test_run.py",
    "objectives.Contrastive.repeats": "objectives/test_repeats.py",
    "objectives.MaskedPatches.video=0": "objectives/backbones/test_factorised.py",
    "objectives.Moments": "experiment/test_dense.py",
    "objectives.Regression": "experiment/test_evaluate.py",
    "training.ema": "training/test_resume.py",
}
"""Choices that other tests take, by how they begin: where the real trainer or the code itself is asked."""

IDLE = {"name", "path", "split", "label", "tokenizer", "init_from", "seed", "mean", "deviation", "weights"}
"""Fields that name something, or are but numbers."""


def choices(experiment: Any, place: str = "") -> Iterator[str]:
    """Every choice of an experiment as `model.fusion.scheme=mid`.

    Words, switches and kinds stand as they are. Of a number it counts whether it is 0, and of a tuple which words it
    has, or whether it has anything. Objectives go by their class: `objectives.Contrastive.form=softmax`.
    """
    if dataclasses.is_dataclass(experiment):
        if place == "objectives":
            place = f"objectives.{type(experiment).__name__}"
            yield place
        for field in dataclasses.fields(experiment):
            if field.name not in IDLE:
                yield from choices(getattr(experiment, field.name), f"{place}.{field.name}".lstrip("."))
    elif isinstance(experiment, dict):
        for value in experiment.values():
            yield from choices(value, place)
    elif isinstance(experiment, tuple) and all(isinstance(value, str) for value in experiment):
        yield from (f"{place}={value}" for value in experiment)
    elif isinstance(experiment, tuple):
        yield f"{place}={'some' if experiment else 'none'}"
    elif isinstance(experiment, int | float) and not isinstance(experiment, bool):
        yield f"{place}={'some' if experiment else '0'}"
    else:
        yield f"{place}={experiment}"


def stepped(recipes: list[Path]) -> pytest.MarkDecorator:
    """Parametrises a test with recipes, those that are not `STEPPED` in nightly runs alone."""
    # STEPPED and ELSEWHERE name what covers the others, choice by choice.
    nights = [() if recipe.stem in STEPPED else pytest.mark.nightly for recipe in recipes]
    every = [pytest.param(one, id=one.stem, marks=marks) for one, marks in zip(recipes, nights, strict=True)]
    return pytest.mark.parametrize("recipe", every)
