"""Measure one training step on this machine: clips and tokens per second, MFU, memory, compile time.

COMMAND  python tools/bench/step.py [--sizes B L] [--task trimodal classify] [--rows whole padded packed]
                                    [--attention auto cudnn …] [--remat none full+attended …]
                                    [--layers scanned unrolled] [--products compute fp8] [--batch 32] [--json FILE]
COST     one GPU: half a minute per line, most of it compilation; on a CPU use --sizes nano --batch 2 --small

Needs only jax, flax, optax, einops and numpy. Clips are noise in the shape of a recipe's clips: 16 frames at 224 pixels
in tubelets of 2 x 16 x 16 (1568 tokens), 10 seconds of audio in patches of 16 x 16 (512 tokens), 48 text tokens.

task     `trimodal`: contrastive pairs and captioning, separate modalities in the first two thirds of the layers;
         `classify`: all modalities attend to each other from the first layer on, and a class is predicted.
rows     `whole`: a row is one clip of the greatest length. `padded` and `packed`: clips of 2 to 16 frames, with audio
         and text in proportion; one clip per row, or as many as fit.

remat    a value of `model.remat`, plus tensors that are kept in device or host memory:
         `full+attended+host:inner` (`mmvideo/model/layers/remat.py` describes them).
products of the layers' weights in bfloat16, or in `fp8`, which also needs qwix.

MFU is the model's FLOPs on real tokens, divided by the time of a step and the device's peak in bfloat16. FLOPs are
those of the matrix products of loss and gradient, with attention only within its spans; recomputation and padding do
not count.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from mmvideo.cost_model.attention_flops import attention_flops
from mmvideo.cost_model.devices import device_of_kind
from mmvideo.cost_model.flops import count_flops
from mmvideo.input.clip_loader import Tokens
from mmvideo.input.collate import BatchShape, assemble_row, stack_rows
from mmvideo.input.planning.packer import pack
from mmvideo.input.planning.token_counts import TOKEN_BUDGETS
from mmvideo.model.config import Block, Fusion, Model, dense_reference, model_dims
from mmvideo.objectives import Captioning, Classification, Contrastive
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec, TokenStream
from mmvideo.training.config import Optimizer, Training
from mmvideo.training.state import init_abstract
from mmvideo.training.step import make_step

STEPS, CELLS, SOUND, PIECES = 8, (14, 14), (64, 8), 48
"""Sizes of the longest clip: tubelet steps, patches of a frame, time steps and mel patches of audio, text tokens."""

CLASSES = 400


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table."""

    size: str
    task: str
    rows: str
    attention: str
    remat: str
    layers: str
    products: str = "compute"


def spec(small: bool) -> StreamSpec:
    """Return the modalities; `small` has a quarter of the patches of a frame and of the audio."""
    cells, sound = ((7, 7), (16, 8)) if small else (CELLS, SOUND)
    return StreamSpec(
        video=PatchSpec((2, 16, 16, 3), (STEPS, *cells), 0.25),
        audio=PatchSpec((16, 16), (*sound, 1), 0.16),
        text=TextSpec(32_000, PIECES, 4, begin_id=2, end_id=3),
    )


def model(case: Case) -> Model:
    """Return the transformer of a case."""
    depth = model_dims(Model(size=case.size)).depth
    fusion = Fusion("early")
    if case.task == "trimodal":
        fusion = Fusion("mid", layer=max(2 * depth // 3, 1), text="causal")
    step, *names = case.remat.split("+")
    host = tuple(name.removeprefix("host:") for name in names if name.startswith("host:"))
    return Model(
        size=case.size,
        fusion=fusion,
        block=Block(quantized="fp8" if case.products == "fp8" else None),
        attention=case.attention,
        remat=step,
        remat_keep=tuple(name for name in names if not name.startswith("host:")),
        remat_offload=host,
        scan=case.layers == "scanned",
    )


def objectives(case: Case) -> dict[str, Any]:
    """Return the objectives of a task."""
    if case.task == "classify":
        return {"classification": Classification("class", CLASSES, modalities=("video", "audio", "text"))}
    pairs = ("video-text", "audio-text", "video-audio")
    return {"contrastive": Contrastive(pairs=pairs, form="sigmoid", chunk=1024), "captioning": Captioning()}


def lengths(rows: str, clips: int) -> list[int]:
    """Return the tubelet steps of each clip."""
    if rows == "whole":
        return [STEPS] * clips
    return np.random.default_rng(0).integers(1, STEPS + 1, clips).tolist()


def clip(seed: int, steps: int, spec: StreamSpec) -> dict[str, Tokens]:
    """Return a clip of noise with this many tubelet steps, and audio and text in proportion."""
    draw, share = np.random.default_rng(seed), steps / STEPS
    tokens = {}
    for name in ("video", "audio"):
        patches = getattr(spec, name)
        grid = (steps if name == "video" else max(round(share * patches.grid[0]), 1), *patches.grid[1:])
        places = np.stack(np.unravel_index(np.arange(np.prod(grid)), grid), axis=-1).astype(np.int32)
        content = draw.integers(0, 256, (len(places), patches.size)).astype(np.uint8)
        if name == "audio":
            content = draw.normal(size=content.shape).astype(np.float32)
        seconds = ((places[:, 0] + 0.5) * patches.seconds).astype(np.float32)
        tokens[name] = Tokens(content, np.zeros(len(places), bool), places, seconds)
    pieces = draw.integers(5, spec.text.vocabulary, max(round(share * PIECES), 3)).astype(np.int32)
    pieces[0], pieces[-1] = spec.text.begin_id, spec.text.end_id
    places = np.stack([0 * pieces, 0 * pieces, np.arange(len(pieces))], axis=-1).astype(np.int32)
    tokens["text"] = Tokens(pieces, np.zeros(len(pieces), bool), places, np.zeros(len(pieces), np.float32))
    return tokens


def make_batch(case: Case, batch: int, spec: StreamSpec) -> TokenStream:
    """Return `batch` clips in rows of the longest clip's length."""
    clips = [clip(seed, steps, spec) for seed, steps in enumerate(lengths(case.rows, batch))]
    needs = np.array([_needs(tokens) for tokens in clips])
    budget = np.array(_needs(clip(0, STEPS, spec)))
    slots = STEPS if case.rows == "packed" else 1
    budget[TOKEN_BUDGETS.index("clips")] = slots
    row = pack(needs, budget) if case.rows == "packed" else np.arange(batch)
    shape = BatchShape(spec, budget, (), ("class",))
    labels = {"class": np.arange(batch) % CLASSES}
    made = []
    for number in range(row.max() + 1):
        members = np.flatnonzero(row == number)
        made.append(assemble_row(shape, members, [clips[i] for i in members], needs[members], labels))
    return stack_rows(made)


def _needs(tokens: dict[str, Tokens]) -> list[int]:
    """Return the tokens that a clip needs of each of `token_counts.TOKEN_BUDGETS`, without masking."""
    count = {name: len(part.hidden) for name, part in tokens.items()}
    return [sum(count.values()), 1, count["video"], count["audio"], count["text"], 0, 0, 0, 0]


def step_flops(case: Case, batch: int, spec: StreamSpec) -> float:
    """Return model FLOPs of a step on real tokens: each clip as if alone in a row of its own length."""
    total, known = 0.0, {}
    for steps in lengths(case.rows, batch):
        if steps not in known:
            known[steps] = _clip_flops(case, steps, spec)
        total += known[steps]
    return total


def _clip_flops(case: Case, steps: int, spec: StreamSpec) -> float:
    """Return FLOPs of loss and gradient for one clip, with attention within spans in place of dense attention."""
    counted = dense_reference(model(case))
    tokens = clip(0, steps, spec)
    needs = np.array([_needs(tokens)])
    shape = BatchShape(spec, needs[0], (), ("class",))
    stream = stack_rows([assemble_row(shape, np.arange(1), [tokens], needs, {"class": np.zeros(1, np.int64)})])

    def build() -> Learner:
        return Learner(counted, spec, objectives(case), rngs=nnx.Rngs(0))

    graphdef, params, rest = nnx.split(nnx.eval_shape(build), nnx.Param, ...)

    def loss(params: Any, rest: Any, stream: TokenStream) -> Any:
        return nnx.merge(graphdef, params, rest).losses(stream)[0]

    counts = {name: len(part.hidden) for name, part in tokens.items()}
    numbers = model_dims(counted)
    dense = 4 * numbers.width * numbers.depth * sum(counts.values()) ** 2
    flops = count_flops(jax.value_and_grad(loss), nnx.to_pure_dict(params), nnx.to_pure_dict(rest), stream)
    # The gradient of a matrix product is two products of its size.
    return flops - 3 * (dense - attention_flops(counted, counts))


def measure(case: Case, batch: int, small: bool, steps: int) -> dict[str, Any]:
    """Compile and time a case."""
    streams, mesh, training = spec(small), make_mesh(Mesh()), Training(steps=1000, optimizer=Optimizer(warmup=10))
    made = make_batch(case, batch, streams)

    def learner(rngs: nnx.Rngs) -> Learner:
        return Learner(model(case), streams, objectives(case), rngs=rngs)

    with jax.set_mesh(mesh):
        abstract_state = init_abstract(learner, training, mesh)
        state, stream = abstract_state.create(), jax.device_put(made)
        began = time.perf_counter()
        program = make_step(abstract_state.graphdef, training).lower(state, stream).compile()
        compiled = time.perf_counter() - began
        times = []
        for number in range(steps + 3):
            began = time.perf_counter()
            state, metrics = program(state, stream)
            jax.block_until_ready(state)
            # The first steps settle clocks and allocations.
            times += [time.perf_counter() - began] if number >= 3 else []
    seconds, memory = statistics.median(times), program.memory_analysis()
    real = int(np.asarray(made.layout.is_token).sum())
    flops, peak = step_flops(case, batch, streams), peak_flops()
    return dataclasses.asdict(case) | {
        "clips": batch,
        "rows_of_tokens": list(made.layout.modality.shape),
        "filled": real / made.layout.modality.size,
        "seconds": seconds,
        "clips_per_second": batch / seconds,
        "tokens_per_second": real / seconds,
        "tflops": flops / seconds / 1e12,
        "mfu": flops / seconds / peak if peak else None,
        "gib": (memory.temp_size_in_bytes + memory.argument_size_in_bytes) / 2**30,
        "compile_seconds": compiled,
        "loss": float(metrics["train/loss"]),
    }


def peak_flops() -> float | None:
    """Return this device's peak FLOPs per second in bfloat16; None if unknown."""
    device = device_of_kind(jax.devices()[0].device_kind)
    return None if device is None else device.flops


COLUMNS = "size task rows attention remat layers products clips/s tokens/s filled TFLOP/s MFU GiB compile"


def line(found: dict[str, Any]) -> str:
    """Return one measured case as text."""
    mfu = "" if found["mfu"] is None else f"{found['mfu']:.3f}"
    cells = [found[name] for name in ("size", "task", "rows", "attention", "remat", "layers", "products")] + [
        f"{found['clips_per_second']:.1f}", f"{found['tokens_per_second']:,.0f}", f"{found['filled']:.3f}",
        f"{found['tflops']:.1f}", mfu, f"{found['gib']:.1f}", f"{found['compile_seconds']:.0f} s",
    ]  # fmt: skip
    return row(cells)


def row(cells: Sequence[str]) -> str:
    """Return a row of the table."""
    return " ".join(f"{cell:>11}" for cell in cells)


def main() -> int:
    """Measure every requested combination, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choices = {
        "sizes": ["B"], "task": ["trimodal"], "rows": ["whole"], "attention": ["auto"], "remat": ["none"],
        "layers": ["scanned"], "products": ["compute"],
    }  # fmt: skip
    for name, default in choices.items():
        allowed = ["compute", "fp8"] if name == "products" else None
        parser.add_argument(f"--{name}", nargs="+", default=default, choices=allowed)
    parser.add_argument("--batch", type=int, default=32, help="clips in a step")
    parser.add_argument("--steps", type=int, default=10, help="number of timed steps; the median counts")
    parser.add_argument("--small", action="store_true", help="clips with a quarter of the tokens, for a CPU")
    parser.add_argument("--json", type=Path, help="also append the results to this file, one object per line")
    options = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)  # tokamax warns about every shape that it was not tuned for
    device = f"{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}"
    print(f"{device}; {options.batch} clips a step, median of {options.steps}\n{row(COLUMNS.split())}")
    failed = 0
    for values in itertools.product(*(getattr(options, name) for name in choices)):
        case = Case(*values)
        try:
            found = measure(case, options.batch, options.small, options.steps)
        except (ValueError, NotImplementedError, jax.errors.JaxRuntimeError) as error:
            failed += 1
            print(row(dataclasses.astuple(case)) + f"  {type(error).__name__}: {str(error).splitlines()[0][:100]}")
            continue
        print(line(found), flush=True)
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps(found | {"device": device, "date": time.strftime("%Y-%m-%d")}) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
