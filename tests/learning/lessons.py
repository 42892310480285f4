"""Short lessons on real sounding shapes: mp4 files, decoded once, taught by the trainer's own step."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import corpora
import jax
import jaxtyping
import numpy as np
from flax import nnx

from mmvideo.datasets.corpus import open_corpus
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Model
from mmvideo.objectives import AnyObjective
from mmvideo.objectives.learner import Learner
from mmvideo.stream import PADDING, StreamSpec, TokenStream
from mmvideo.training.config import Optimizer, Training
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.state import eval_model, new_state
from mmvideo.training.step import make_step

FAST = {"xla_backend_optimization_level": 1}
"""What a program is compiled with that runs hundreds of times: conftest.py, in haste, asks for none.

Beyond it the program ran no faster, and took half as long again to compile.
"""
SMALL = Model(depth=3, width=64, heads=4, feed_forward=128, compute="float32", position="sincos")
"""A transformer that these lessons are within the reach of."""
WIDER = Model(depth=3, width=96, heads=4, feed_forward=384, compute="float32", position="sincos")
"""For the lessons of `finer`, which learn at a rate of `SLOWER`."""
SLOWER = 5e-3
SEED = int(os.environ.get("MMVIDEO_LESSON_SEED", "0"))
"""Seed of weights and of the order of the batches: the tables beside the thresholds hold the values of three.

`MMVIDEO_LESSON_SEED=1 python -m pytest tests/learning -s` measures them anew.
"""


def settings(corpus: str, **changes: Any) -> Input:
    """Twenty pictures of 16 × 16 pixels, two in a token, and their sound in ten strips of 160 ms."""
    usual = Input(
        sources=(Source(corpus),),
        video=Video(fps=12.0, frames=20, size=16, tubelet=(2, 16, 16)),
        audio=Audio(
            seconds=1.68,
            spectrogram=Spectrogram(
                kind="log_mel", window_seconds=0.04, hop_seconds=0.02, bins=64, mean=-1.1, deviation=1.5
            ),
            patch=(8, 64),
        ),
        text=Text(length=32),
        packing=Packing(rows=16, tokens=42, clips=2),
        keep=str(corpora.folder() / "batches"),
    )
    return dataclasses.replace(usual, **changes)


def finer(corpus: str, **changes: Any) -> Input:
    """Two seconds at 12 frames a second of 32 × 32 pixels in 24 tubelets, and their sound in 13 strips of 160 ms.

    For lessons that did not pass with `settings` (measured 2026-11-30); they run as they did before it.
    """
    usual = settings(corpus, packing=Packing(rows=16, tokens=74, clips=2))
    video = Video(fps=12.0, frames=24, size=32, tubelet=(4, 16, 16))
    audio = dataclasses.replace(usual.audio, seconds=2.0)
    return dataclasses.replace(usual, **({"video": video, "audio": audio} | changes))


@dataclasses.dataclass(frozen=True)
class Clips:
    """Every clip of a split, decoded once: the batches of one pass and what they are made of."""

    spec: StreamSpec
    batches: list[TokenStream]


def decoded(
    config: Input,
    *,
    split: str = "train",
    masked: bool = False,
    modalities: Sequence[str] | None = None,
    first: int | None = None,
) -> Clips:
    """The batches of an epoch, or the `first` of them (training views of `train`, else the held-out clips' middles).

    They are kept, for other test processes and later runs (`corpora`).
    """
    sources = tuple(dataclasses.replace(source, split=split) for source in config.sources)
    config = dataclasses.replace(config, sources=sources)
    with corpora.locked(hashlib.sha256(repr((config, masked, modalities)).encode()).hexdigest()[:16]), unchecked():
        batches = Batches(config, masked=masked, train=split == "train", modalities=modalities)
        # An epoch's last batch is left to the next epoch in training.
        steps = batches.steps_per_epoch - (split == "train")
        return Clips(batches.spec, [stream for _, stream in batches.iterate(0, first or steps)])


@contextlib.contextmanager
def unchecked() -> Iterator[None]:
    """Without the checks of shapes, which take as long as decoding; the tests of the input have them."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def label_onsets(clips: Clips, corpus: str, split: str) -> None:
    """Two more kinds of label: the tenth of a second of the first bounce and of the first beep of a clip.

    What a viewer and a listener must know to tell whether the two coincide, as `visual` and `audio` are
    what they must know to tell whether movement and melody agree.
    """
    table = open_corpus(corpus, split)
    for name, events in (("first_bounce", "bounces"), ("first_beep", "beeps")):
        onset = np.array([int(10 * table.attributes(clip)[events][0]) for clip in range(len(table))], np.int32)
        for stream in clips.batches:
            number = stream.clips.clip_index
            stream.clips.labels[name] = np.where(number == PADDING, PADDING, onset[number]).astype(np.int32)


def teach(
    model: Model, objectives: Mapping[str, AnyObjective], clips: Clips, steps: int, rate: float = 8e-3, seed: int = SEED
) -> Learner:
    """A learner after `steps` real training steps over the decoded batches, each epoch in another order."""

    def make() -> Learner:
        return Learner(model, clips.spec, objectives, rngs=nnx.Rngs(seed))

    config = Training(steps=steps, optimizer=Optimizer(name="muon", learning_rate=rate, warmup=max(1, steps // 10)))
    graphdef, params, variables = nnx.split(make(), nnx.Param, ...)
    optimizer = make_optimizer(config.optimizer, steps)
    state = new_state(nnx.to_pure_dict(params), nnx.to_pure_dict(variables), optimizer, config)
    # The tests' programs are compiled in a hurry (conftest.py); this one runs often.
    step = make_step(graphdef, config).lower(state, clips.batches[0]).compile(FAST)
    draw, todo = np.random.default_rng(seed), []
    for _ in range(steps):
        todo = todo or list(draw.permutation(len(clips.batches)))
        state, metrics = step(state, clips.batches[todo.pop()])
        assert not metrics["skipped"]
    learner = eval_model(graphdef, state)
    learner.eval()
    return learner


def accuracies(learner: Learner, batches: Sequence[TokenStream]) -> dict[str, float]:
    """The accuracy of every objective that has one, over all clips of the batches."""
    graph, state = nnx.split(learner)
    measure = jax.jit(lambda state, stream: nnx.merge(graph, state).losses(stream)[1])
    found = [{name: float(value) for name, value in measure(state, stream).items()} for stream in batches]
    names = [name.removesuffix("/accuracy") for name in found[0] if name.endswith("/accuracy")]
    return {
        name: sum(one[f"{name}/accuracy"] * one[f"{name}/clips"] for one in found)
        / sum(one[f"{name}/clips"] for one in found)
        for name in names
    }
