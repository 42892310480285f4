"""Settings of the trainer: length, optimiser, checkpoints and evaluations."""

from __future__ import annotations

import dataclasses
from typing import Literal

MOMENTS: dict[str, dict[str, float]] = {
    "adamw": {"b1": 0.9, "b2": 0.98, "eps": 1e-8},
    "muon": {"b1": 0.9, "b2": 0.98, "eps": 1e-8},
    "lion": {"b1": 0.9, "b2": 0.98},
    "adafactor": {"b1": 0.9, "b2": 0.999, "eps": 1e-30},
    "sgd": {"b1": 0.9},
}
"""Hyperparameters of each optimiser, with their usual values.

For `adafactor`, `b1` is the momentum (0 for none), `b2` the largest share that the second moment keeps, and `eps` is
added to squared gradients.
"""


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optax optimiser with its schedule.

    Attributes:
      name: optimiser; `muon` is Muon for matrices and Adam for the rest, at one learning rate.
      learning_rate: highest learning rate.
      schedule: shape after the warm-up; `cosine` and `linear` end at `final_share` of the highest rate.
      warmup: steps of linear warm-up from 0.
      final_share: last learning rate relative to the highest.
      b1, b2, eps: decay of the first and the second moment, and the constant added to the root of the second; None uses
        the usual value of the optimiser (`MOMENTS`). A setting that the optimiser does not use is refused.
      weight_decay: decoupled weight decay on matrices; none on norms, biases, tables and scales.
      clip: largest global norm of the gradient; None does not clip.
      accumulate: batches whose gradients are averaged for one update.
      layer_decay: learning rate of a layer relative to that of the layer above it (BEiT, Bao et al. 2022, appendix
        on fine-tuning; VideoMAE): with depth `n`, layer `l` of 1 to `n` learns at `layer_decay ** (n + 1 - l)`,
        embedders as layer 0, heads and the last norm at the full rate. Weight decay scales with the rate.
      head_rate: learning rate of the heads relative to that of the trunk (AST and MBT use a higher one for new heads).
    """

    name: Literal["adamw", "muon", "lion", "adafactor", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: int = 50
    final_share: float = 0.0
    b1: float | None = None
    b2: float | None = None
    eps: float | None = None
    weight_decay: float = 0.05
    clip: float | None = 1.0
    accumulate: int = 1
    layer_decay: float = 1.0
    head_rate: float = 1.0

    def moments(self) -> dict[str, float]:
        """Return the values of `b1`, `b2` and `eps` that the optimiser uses.

        Raises:
          ValueError: the optimiser is unknown.
        """
        if self.name not in MOMENTS:
            *others, last = MOMENTS
            raise ValueError(f"optimizer.name {self.name!r} is unknown; take {', '.join(others)} or {last}")
        own = {name: getattr(self, name) for name in ("b1", "b2", "eps")}
        return {name: usual if own[name] is None else own[name] for name, usual in MOMENTS[self.name].items()}

    def __post_init__(self) -> None:
        for name in ("b1", "b2", "eps"):
            if getattr(self, name) is not None and name not in MOMENTS.get(self.name, (name,)):
                used = ", ".join(MOMENTS[self.name])
                raise ValueError(f"optimizer.{name} {getattr(self, name)}: {self.name} has no such number, only {used}")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"optimizer.layer_decay {self.layer_decay} must be above 0 and at most 1, which is none")
        if not self.head_rate > 0:
            raise ValueError(f"optimizer.head_rate {self.head_rate} must be above 0")


@dataclasses.dataclass(frozen=True)
class Lora:
    """Low-rank updates of the trunk's matrices (Hu et al. 2021, section 4.1).

    Attributes:
      rank: columns of A and rows of B (`r`), whose product is added to a matrix.
      alpha: scale of the product, divided by `rank`.
      targets: matrices of every layer with an update; the paper uses query and value.
    """

    rank: int = 8
    alpha: float = 8.0
    targets: tuple[Literal["query", "key", "value", "out", "gate", "up", "down"], ...] = ("query", "value")

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"tune.lora.rank {self.rank} must be 1 or more")
        if not self.targets:
            raise ValueError("tune.lora.targets is empty: name some of query, key, value, out, gate, up, down")


@dataclasses.dataclass(frozen=True)
class Tuning:
    """Trained and frozen parameters. A frozen parameter stays unchanged to the bit, without gradient or optimiser
    state.

    Attributes:
      mode: `full` trains everything; `heads` only the heads, on a trunk that runs forward without dropped branches (a
        linear probe with mean pooling, an attentive probe with `map`); `lora` the heads and low-rank updates of the
        trunk's matrices.
      lora: settings of the low-rank updates.
      thaw: trunk parameters that `heads` and `lora` train as well, by patterns of their names, such as `trunk.norms.*`.
      freeze: parameters frozen in any mode, by patterns of their names, such as `trunk.embed.text.*`.
      freeze_layers: number of first trunk layers that are frozen, with everything before them (embedders, positions, a
        space encoder); they drop no branches.
    """

    mode: Literal["full", "heads", "lora"] = "full"
    lora: Lora = Lora()
    thaw: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()
    freeze_layers: int = 0

    def __post_init__(self) -> None:
        if self.thaw and self.mode == "full":
            raise ValueError("tune.thaw has no meaning with tune.mode full, which trains everything: leave it out")
        if self.freeze_layers < 0:
            raise ValueError(f"tune.freeze_layers {self.freeze_layers} must be 0 or more")


@dataclasses.dataclass(frozen=True)
class Spike:
    """Steps that are skipped because their loss or gradient is far above those before.

    A step is skipped if its loss or the global norm of its gradient exceeds the running mean of the accepted steps by
    more than a factor. This is the rule of AdaGC (Wang et al. 2025, arXiv 2502.11034) for clipping one tensor's
    gradient, applied here to the whole step, which is skipped as PaLM's authors skipped batches by hand (Chowdhery et
    al. 2022, section 5.1). The loss must be positive for a factor to make sense.

    Attributes:
      loss: factor for the loss; None accepts every finite loss.
      gradient: factor for the gradient norm before clipping; None accepts every finite norm.
      window: number of steps in the running mean, which moves by `1 / window` of the way, faster in the first steps.
      warmup: accepted steps before the first one may be skipped.
    """

    loss: float | None = 2.0
    gradient: float | None = 10.0
    window: int = 100
    warmup: int = 100

    def __post_init__(self) -> None:
        if self.loss is None and self.gradient is None:
            raise ValueError("training.spike skips nothing with loss and gradient None: set one, or leave spike out")
        for name, factor in (("loss", self.loss), ("gradient", self.gradient)):
            if factor is not None and not factor > 1:
                raise ValueError(f"training.spike.{name} {factor} must be above 1, as a factor of the running mean")
        if self.window < 1 or self.warmup < 1:
            raise ValueError(f"training.spike.window {self.window} and warmup {self.warmup} must be 1 or more")


@dataclasses.dataclass(frozen=True)
class Training:
    """A training run.

    Attributes:
      steps: total number of batches (an update every `optimizer.accumulate` batches).
      optimizer: optimiser and schedule.
      tune: trained and frozen parameters.
      ema: decay of the moving average of the parameters; None keeps none.
      average_from: batch from which the plain mean of the parameters after each update is kept instead of a moving
        average (SWA, Izmailov et al. 2018, section 3.2, at every update; the weight averaging of AST); None keeps none.
        Evaluation uses the mean, as it would the moving average.
      log_every: steps between log lines.
      save_every: steps between checkpoints; the last step is always saved.
      keep: number of newest checkpoints kept.
      keep_every: interval of steps whose checkpoints are kept permanently; None keeps only the newest.
      best: evaluation metric by which the best checkpoint is kept and marked, as EVALUATION/METRIC, such as
        `retrieval/text_to_video/r@1`; every evaluation's step then has a checkpoint. None marks none.
      best_mode: direction of that metric: whether its highest or its lowest value is the best.
      evaluate_every: steps between evaluations; None evaluates at the end only.
      patience: skipped steps in a row, non-finite or spikes, after which the run stops.
      spike: rule for skipping finite steps; None skips none of them.
      hang_seconds: longest time in seconds in which nothing (a step, a batch of an evaluation, a save) ends in a
        process. The process then writes the stacks of its threads to `hangs/` and exits with code 75, for a scheduler
        to restart the run. It must exceed the longest compilation and the time of a restore; 0 or None lets a process
        hang.
      seed: seed of the parameters.
      init_from: folder of a run, one of its checkpoints (`RUN/checkpoints/800`, or `…/best`), or an export, whose
        parameters (their average if one was kept) initialise a new run. They are matched by name; learned positions for
        another frame size, clip length or spectrogram are interpolated. The parameters loaded, resized, left out and
        newly initialised are printed and written to `init.json`. Heads that only one of the runs has, and parameters of
        modalities that this run lacks, may differ; any other difference stops the run unless it is named below. A
        resumed run ignores it.
      init_fresh: parameters that are newly initialised even if the checkpoint has them, by patterns of their names,
        such as `heads.classification.*` for other classes.
      init_ignore: parameters of the checkpoint that this run does not use, by patterns of their names.
      inflation: conversion of a kernel for single frames to tubelets of several: `central` copies it to their central
        frame, `mean` divides it among all frames (ViViT).
      tensorboard: whether TensorBoard events are written beside metrics.jsonl.
    """

    steps: int = 1000
    optimizer: Optimizer = Optimizer()
    tune: Tuning = Tuning()
    ema: float | None = None
    average_from: int | None = None
    log_every: int = 10
    save_every: int = 500
    keep: int = 2
    keep_every: int | None = None
    best: str | None = None
    best_mode: Literal["max", "min"] = "max"
    evaluate_every: int | None = None
    patience: int = 5
    spike: Spike | None = None
    hang_seconds: float | None = 1800.0
    seed: int = 0
    init_from: str | None = None
    init_fresh: tuple[str, ...] = ()
    init_ignore: tuple[str, ...] = ()
    inflation: Literal["central", "mean"] = "central"
    tensorboard: bool = True

    def __post_init__(self) -> None:
        if self.hang_seconds is not None and self.hang_seconds < 0:
            raise ValueError(f"training.hang_seconds {self.hang_seconds} must be above 0, or 0 to watch nothing")
        if self.keep < 1:
            raise ValueError(f"training.keep {self.keep} must be 1 or more: a run goes on from its newest checkpoint")
        # With save_every 500, steps 1000 and 2000 can be kept permanently, but not step 750.
        if self.keep_every is not None and (self.keep_every < 1 or self.keep_every % self.save_every):
            raise ValueError(
                f"training.keep_every {self.keep_every} must be a multiple of training.save_every {self.save_every}: "
                "there is no checkpoint of other steps"
            )
        if self.average_from is None:
            return
        if self.ema is not None:
            raise ValueError("training.ema and training.average_from both say which average is kept: set one of them")
        # Batches are numbered from 1 here.
        if not 1 <= self.average_from <= self.steps:
            raise ValueError(f"training.average_from {self.average_from} must be 1 to {self.steps}, the last batch")

    @property
    def averages(self) -> bool:
        """True if an average of the parameters is kept beside them."""
        return self.ema is not None or self.average_from is not None
