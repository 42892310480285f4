"""Settings of the trainer: how long, with which optimiser, and what is kept."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optax optimiser with its schedule.

    Attributes:
      name: which optimiser; `muon` is Muon for the matrices and Adam for all else, at one learning rate.
      learning_rate: highest learning rate.
      schedule: shape after the warm-up; `cosine` and `linear` end at `final_share` of the highest.
      warmup: steps of linear warm-up from 0.
      final_share: the last learning rate relative to the highest.
      b1, b2, eps: moments of the Adam family.
      weight_decay: decoupled weight decay on matrices; never on norms, biases, tables and scales.
      clip: largest global norm of the gradient; None does not clip.
      accumulate: batches whose gradients are averaged for one update.
    """

    name: Literal["adamw", "muon", "lion", "adafactor", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: int = 50
    final_share: float = 0.0
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip: float | None = 1.0
    accumulate: int = 1


@dataclasses.dataclass(frozen=True)
class Training:
    """A run.

    Attributes:
      steps: batches in all (an update every `optimizer.accumulate` of them).
      optimizer: how parameters are updated.
      ema: decay of the moving average of the parameters; None keeps none.
      log_every: steps between log lines.
      save_every: steps between checkpoints; the last step is always saved.
      keep: newest checkpoints kept.
      evaluate_every: steps between evaluations; None evaluates at the end only.
      patience: non-finite steps in a row after which the run stops.
      seed: seed of the parameters.
      init: a run's folder, or one of its checkpoints, from whose parameters (the moving average where one was
        kept) a new run starts. They are taken by name, and what only one of the two models has is told; learned
        positions of another frame size, clip length or spectrogram are interpolated. A resumed run ignores it.
      init_fresh: parameters that start anew all the same, by patterns of their names, such as
        `heads.classification.*` for other classes.
      inflation: what becomes of the kernel of single frames in tubelets of several: `central` gives it to their
        central frame, `mean` shares it out among them (ViViT).
      tensorboard: whether TensorBoard events are written beside metrics.jsonl.
    """

    steps: int = 1000
    optimizer: Optimizer = Optimizer()
    ema: float | None = None
    log_every: int = 10
    save_every: int = 500
    keep: int = 2
    evaluate_every: int | None = None
    patience: int = 5
    seed: int = 0
    init: str | None = None
    init_fresh: tuple[str, ...] = ()
    inflation: Literal["central", "mean"] = "central"
    tensorboard: bool = True
