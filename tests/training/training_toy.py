"""A small learner and its batches: what the trainer's tests train. Also a program: `training_toy.py WORKDIR …`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from mmvideo.model.layers.basic import Linear, parameter
from mmvideo.parallel import config
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.processes import initialize
from mmvideo.parallel.rules import batch_sharding
from mmvideo.stream import PADDING, Clips, Modality, TokenLayout, TokenStream
from mmvideo.training.config import Optimizer, Training
from mmvideo.training.loop import train
from mmvideo.training.state import TrainState

ROWS, TOKENS, PATCH = 8, 4, 6
LONG = {"steps": 6, "save_every": 2, "ema": 0.9, "keep": 3}
"""Settings of the run that many tests start from."""


class Toy(nnx.Module):
    """Two objectives on patches of sound: the mean of the next patch, and the class of the clip."""

    def __init__(self, width: int = 8, *, rngs: nnx.Rngs):
        self.embed = Linear(PATCH, width, axes=("patch", "embed"), rngs=rngs)
        self.inner = Linear(width, 2 * width, axes=("embed", "mlp"), rngs=rngs)
        self.stacked_bias = parameter(jnp.zeros((2, width)), "layers", "norm")
        self.table = parameter(jnp.zeros((TOKENS, width)), "place", "embed")
        self.value = Linear(2 * width, 1, axes=("mlp", "out"), rngs=rngs)
        self.label = Linear(2 * width, 2, axes=("mlp", "out"), rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def losses(self, stream: TokenStream) -> tuple[jax.Array, dict[str, jax.Array]]:
        x = stream.content["audio"]
        hidden = self.embed(x) + self.table[...] + self.stacked_bias[...].sum(axis=0)
        hidden = jnp.tanh(self.inner(self.dropout(hidden)))
        value = jnp.mean(jnp.square(self.value(hidden)[..., 0] - x.sum(axis=-1)))
        logits = self.label(hidden.mean(axis=1))
        label = -jax.nn.log_softmax(logits)[jnp.arange(x.shape[0]), stream.clips.labels["kind"][:, 0]].mean()
        # A row whose first number is infinite breaks one objective only.
        label = label + jnp.where(jnp.isinf(stream.layout.time[0, 0]), jnp.nan, 0.0)
        return value + label, {"loss": value + label, "value/loss": value, "label/loss": label}


class PlainToy(Toy):
    """The same without chance."""

    def __init__(self, *, rngs: nnx.Rngs):
        super().__init__(rngs=rngs)
        self.dropout = nnx.Dropout(0.0, rngs=rngs)


@dataclasses.dataclass
class ToyBatches:
    """Batches as a pure function of the step; `bad` steps break both losses, `half_bad` ones only `label`.

    `loud` ones are finite and far from all others.
    """

    rows: int = ROWS
    bad: tuple[int, ...] = ()
    half_bad: tuple[int, ...] = ()
    loud: tuple[int, ...] = ()
    kill_at: int | None = None
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def batch(self, step: int) -> TokenStream:
        chance = np.random.default_rng((7, step))
        audio = chance.normal(size=(self.rows, TOKENS, PATCH)).astype(np.float32)
        if step in self.loud:
            audio *= 50
        if step in self.bad:
            audio[0, 0, 0] = np.nan
        modality = np.full((self.rows, TOKENS), Modality.AUDIO, np.int32)
        modality[:, -1] = PADDING
        time = np.zeros((self.rows, TOKENS), np.float32)
        if step in self.half_bad:
            time[0, 0] = np.inf
        index = np.tile(np.arange(TOKENS, dtype=np.int32), (self.rows, 1))
        layout = TokenLayout(index, modality, np.minimum(modality, 0), time, np.zeros((self.rows, TOKENS, 3), np.int32))
        kind = (audio.mean(axis=(1, 2)) > 0).astype(np.int32)[:, None]
        number = np.arange(self.rows, dtype=np.int32)[:, None] + step * self.rows
        clips = Clips(number, np.tile([False, True, False], (self.rows, 1, 1)), {"kind": kind})
        return TokenStream({"audio": audio}, layout, {}, None, clips)

    def iterate(self, start: int, stop: int) -> Iterator[tuple[int, TokenStream]]:
        for step in range(start, stop):
            if step == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            yield step, self.batch(step)

    def assets(self) -> dict[str, Any]:
        return {"tokenizer.model": b"\x00\x01pieces", "statistics.json": {"mean": -4.5}}


def toy_mesh(data: int = 1, fsdp: int = 1, tensor: int = 1) -> Mesh:
    return make_mesh(config.Mesh(data, fsdp, tensor), jax.devices()[: data * fsdp * tensor])


def toy_train(
    workdir: Path, training: Training, batches: ToyBatches, mesh: Mesh | None = None, **more: Any
) -> TrainState:
    """Trains the toy, quietly unless told otherwise."""
    mesh = mesh or toy_mesh()
    rows = batch_sharding(mesh)
    more = {"learner_fn": lambda rngs: Toy(rngs=rngs), "on_progress": lambda row: None, **more}
    more.setdefault("config_json", json.dumps({"training": dataclasses.asdict(training), "name": "toy"}))
    return train(
        batches=batches,
        place=lambda stream: jax.device_put(stream, rows),
        config=training,
        mesh=mesh,
        workdir=workdir,
        **more,
    )


def quick(**settings: Any) -> Training:
    """Short training that logs every step and writes no events."""
    optimizer = {"warmup": 2, "learning_rate": 1e-2, **settings.pop("optimizer", {})}
    return Training(**{"log_every": 1, "tensorboard": False, **settings, "optimizer": Optimizer(**optimizer)})


def same_bits(left: Any, right: Any) -> bool:
    """Whether two states hold the same bits, leaf by leaf."""
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(_bits(a), _bits(b)) for a, b in pairs)


def _bits(leaf: jax.Array) -> np.ndarray:
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.atleast_1d(np.asarray(leaf)).view(np.uint8)


def main() -> None:
    """Trains the toy in a process of its own, or one of several, to be stopped or killed from outside."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--keep", type=int, default=2)
    parser.add_argument("--kill-at", type=int)
    options = parser.parse_args()
    _, processes = initialize()
    training = quick(steps=options.steps, save_every=options.save_every, keep=options.keep, ema=0.9)
    mesh = toy_mesh() if processes == 1 else toy_mesh(jax.device_count())
    state = toy_train(options.workdir, training, ToyBatches(kill_at=options.kill_at), mesh, on_progress=None)
    print(f"ended at step {int(state.step)}", flush=True)


if __name__ == "__main__":
    main()
