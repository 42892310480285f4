"""Check that every mesh of eight devices gives the loss and the gradients of one device.

COMMAND  python tools/check_meshes.py [--recipes early bottleneck caption] [--json FILE]
COST     2 CPU cores, about 20 minutes, nearly all of it compilation; no accelerator: the eight devices are fake

Every mesh of `data`, `fsdp`, `tensor` and `context` whose product is 8 runs one batch of 30 packed clips, some of which
lack modalities, in float32 through three tiny models:

early       all modalities attend to each other from the first layer on; masked patches, masked text, classes
bottleneck  modalities with separate weights and class tokens, fused by bottleneck tokens; contrastive pairs, classes
caption     text is causal and attends to video and audio from half depth on; contrastive pairs in blocks, captions

Three columns are relative deviations from one device: of the loss; of the worst array of the gradient (norm of the
difference over the array's norm, or over a thousandth of the whole gradient's norm if that is larger); and of the worst
metric of the contrastive pairs (number of clips compared, and their distance). The last column is the FLOPs of all
devices over those of one: 1.00 if nothing is computed twice.

Exit code 1 if a deviation is above 1e-5.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from mmvideo.input.clip_loader import Tokens
from mmvideo.input.collate import BatchShape, assemble_row, stack_rows
from mmvideo.model.config import Decoder, Fusion, Model, Sharing
from mmvideo.objectives import Captioning, Classification, Contrastive, MaskedPatches, MaskedText
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.rules import batch_sharding, shardings
from mmvideo.stream import MODALITIES, PatchSpec, StreamSpec, TextSpec, TokenStream

DEVICES, TOLERANCE = 8, 1e-5

FLAGS = (
    # Eight devices on few cores wait for each other longer than XLA's timeout.
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    # Each program is compiled once and run once.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
)

ROWS, SLOTS, CLIPS = 8, 4, 30

SPEC = StreamSpec(
    video=PatchSpec((2, 4, 4, 3), (3, 2, 2), 0.25),
    audio=PatchSpec((4, 8), (4, 2, 1), 0.16),
    text=TextSpec(40, 8, 4),
)
TOKENS, HIDDEN = {"video": 12, "audio": 8, "text": 8}, {"video": 4, "audio": 4, "text": 2}
"""Token counts of every clip. The rows of a batch are multiples of eight; the counts of a modality are not."""

LACKING = ((), (), ("audio",), ("text",), ("video",))
"""Modalities that every fifth clip lacks."""

SIZE = dict(depth=4, width=48, heads=8, feed_forward=96, compute="float32", decoder=Decoder(1, 48, 8))
CLASSES = Classification("kind", 4, ("video", "audio"), require="any")
PAIRS = ("video-text", "audio-text", "video-audio")

RECIPES: dict[str, tuple[Model, dict[str, Any]]] = {
    "early": (
        Model(fusion=Fusion("early"), **SIZE),
        {"patches": MaskedPatches(), "pieces": MaskedText(), "classes": CLASSES},
    ),
    "bottleneck": (
        Model(
            fusion=Fusion("bottleneck", 2, bottlenecks=2, modalities=("video", "audio")),
            sharing=Sharing("nothing", "nothing"),
            class_tokens=1,
            **SIZE,
        ),
        {"contrastive": Contrastive(PAIRS, width=16, pooling="class"), "classes": CLASSES},
    ),
    "caption": (
        Model(fusion=Fusion("mid", 2, text="causal"), **SIZE),
        {"contrastive": Contrastive((*PAIRS, "video+audio-text"), width=16, chunk=12), "captions": Captioning()},
    ),
}


def meshes(devices: int) -> Iterator[Mesh]:
    """Return every mesh with this many devices."""
    sizes = [size for size in range(1, devices + 1) if devices % size == 0]
    for shape in itertools.product(sizes, repeat=4):
        if math.prod(shape) == devices:
            yield Mesh(*shape)


def clip(seed: int, hide: bool) -> dict[str, Tokens]:
    """Return a clip of noise, partly masked."""
    draw, tokens = np.random.default_rng(seed), {}
    for name in MODALITIES:
        if name in LACKING[seed % len(LACKING)]:
            continue
        count, patches = TOKENS[name], getattr(SPEC, name)
        grid = (1, 1, count) if name == "text" else patches.grid
        place = np.stack(np.unravel_index(np.arange(count), grid), axis=-1).astype(np.int32)
        content, time = draw.integers(5, 40, count).astype(np.int32), np.zeros(count, np.float32)
        if name != "text":
            content = draw.integers(0, 256, (count, patches.size)).astype(np.uint8)
            time = ((place[:, 0] + 0.5) * patches.seconds).astype(np.float32)
        if name == "audio":
            content = draw.normal(size=content.shape).astype(np.float32)
        hidden = draw.permutation(count) < (HIDDEN[name] if hide else 0)
        tokens[name] = Tokens(content, hidden, place, time)
    return tokens


def needs(tokens: dict[str, Tokens], hide: bool) -> list[int]:
    """Return the tokens that a clip needs of each of `token_counts.TOKEN_BUDGETS`."""
    total = {name: len(tokens[name].hidden) if name in tokens else 0 for name in MODALITIES}
    gone = {name: int(tokens[name].hidden.sum()) if name in tokens else 0 for name in MODALITIES}
    video, audio, text = total["video"] - gone["video"], total["audio"] - gone["audio"], total["text"]
    decode = hide * (total["video"] + total["audio"])
    return [video + audio + text, 1, video, audio, text, *gone.values(), decode]


def batch(hide: bool) -> TokenStream:
    """Pack the clips into rows that hold several."""
    clips = [clip(seed, hide) for seed in range(CLIPS)]
    sizes = np.array([needs(tokens, hide) for tokens in clips])
    shape = BatchShape(SPEC, SLOTS * sizes.max(axis=0), MODALITIES if hide else (), ("kind",))
    labels, rows = {"kind": np.arange(CLIPS) % 4}, []
    for members in np.array_split(np.arange(CLIPS), ROWS):
        rows.append(assemble_row(shape, members, [clips[i] for i in members], sizes[members], labels))
    return stack_rows(rows)


class Recipe:
    """A tiny learner and its batch, with the results of one device."""

    def __init__(self, name: str):
        model, objectives = RECIPES[name]
        self.stream = batch(hide="patches" in objectives)
        learner = Learner(model, SPEC, objectives, rngs=nnx.Rngs(0))
        self.graph, self.state, rest = nnx.split(learner, nnx.Param, ...)
        self.rest = nnx.to_pure_dict(rest)
        self.single = self.run(Mesh(1), jax.devices()[:1])

    def run(self, sizes: Mesh, devices: list[jax.Device]) -> tuple[Any, Any, Any, float]:
        """Return loss, metrics, gradients and the FLOPs of all devices."""
        mesh = make_mesh(sizes, devices)
        places, rows = shardings(self.state, mesh), batch_sharding(mesh)

        def losses(state: Any, stream: TokenStream) -> Any:
            return nnx.merge(self.graph, state, self.rest).losses(stream)

        with jax.set_mesh(mesh):
            state, stream = jax.device_put(self.state, places), jax.device_put(self.stream, rows)
            step = jax.jit(jax.value_and_grad(losses, has_aux=True), out_shardings=(None, places))
            program = step.lower(state, stream).compile()
            (loss, metrics), gradients = jax.device_get(program(state, stream))
        flops = program.cost_analysis()["flops"] * len(devices)
        return loss, metrics, jax.tree.leaves(gradients), flops

    def compare(self, sizes: Mesh) -> dict[str, float | None]:
        """Return the deviations of a mesh from one device, and the ratio of FLOPs."""
        loss, metrics, gradients, flops = self.run(sizes, jax.devices())
        single, single_metrics, single_gradients, work = self.single
        pairs = [name for name in metrics if name.startswith("contrastive/")]
        return {
            "loss": abs(float(loss) / float(single) - 1),
            "gradients": deviation(gradients, single_gradients),
            "negatives": max((difference(metrics[name], single_metrics[name]) for name in pairs), default=None),
            "work": flops / work,
        }


def deviation(many: list[np.ndarray], one: list[np.ndarray]) -> float:
    """Return the largest relative difference of an array; a tiny gradient is compared with the norm of the whole."""
    floor = 1e-3 * math.sqrt(sum(float(np.square(array).sum()) for array in one))
    pairs = zip(many, one, strict=True)
    return max(float(np.linalg.norm(a - b) / max(np.linalg.norm(b), floor)) for a, b in pairs)


def difference(many: np.ndarray, one: np.ndarray) -> float:
    """Return the relative difference of two metrics; denominators below 0.001 count as 0.001."""
    return float(abs(many - one) / max(abs(one), 1e-3))


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    print(f"{'recipe':12}{'data':>5}{'fsdp':>5}{'tensor':>7}{'context':>8}", end="")
    print(f"{'loss':>10}{'gradients':>11}{'negatives':>11}{'work':>7}", flush=True)
    found = []
    for name in options.recipes:
        recipe = Recipe(name)
        for mesh in meshes(DEVICES):
            numbers = recipe.compare(mesh)
            found.append({"recipe": name, **vars(mesh), **numbers})
            negatives = "" if numbers["negatives"] is None else f"{numbers['negatives']:.1e}"
            print(f"{name:12}{mesh.data:5}{mesh.fsdp:5}{mesh.tensor:7}{mesh.context:8}", end="")
            print(
                f"{numbers['loss']:10.1e}{numbers['gradients']:11.1e}{negatives:>11}{numbers['work']:7.2f}", flush=True
            )
            jax.clear_caches()
    worst = max(line[key] or 0.0 for line in found for key in ("loss", "gradients", "negatives"))
    print(f"the largest of {len(found)} is {worst:.1e}; allowed is {TOLERANCE:.0e}")
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
