"""Compare a VideoMAE pretraining step with Hugging Face transformers on PyTorch: one device, one run, one model.

COMMAND  python tools/bench/peer.py [--sizes B L] [--runners eager compiled] [--batch 32] [--json FILE]
COST     one GPU: two minutes per size; on a CPU use --sizes tiny --batch 2 --small
NEEDS    jax, flax, optax, einops, numpy, and torch and transformers from `pip install "mmvideo[bench-peer]"`

Clips are noise of 16 frames at 224 pixels in tubelets of 2 x 16 x 16, nine tenths of the tubes masked; the model is
that of configs/pretrain/videomae.py. Its weights, none of them left at 0 or 1, are copied into transformers'
`VideoMAEForPreTraining`. Nothing is timed unless both give the same float32 loss within 1e-4.

A timed step is forward, backward and AdamW on data that is on the device; ours also computes its metrics. On a GPU
activations are bfloat16, in PyTorch by autocast; each side chooses its own attention (PyTorch its fused kernels).
Runners take turns in rounds of several steps, and the median round counts. On a CPU the unit is processor seconds of
this process, with one thread for PyTorch, so that a busy machine changes the ratio little. Set the `GLIBC_TUNABLES` of
`mmvideo/cli/terminal/huge_pages.py` to give both sides the memory settings of `mmvideo train`. `--unrolled` also times
our step with unrolled layers in the same run.

Exit code 1 if losses differ, if a runner fails, or if (on a GPU) our step is less than 1.3 times as fast as PyTorch
eager or slower than PyTorch compiled.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import nnx
from step import peak_flops, row

from mmvideo.cost_model.flops import count_flops
from mmvideo.input.clip_loader import Tokens
from mmvideo.input.collate import BatchShape, assemble_row, stack_rows
from mmvideo.model.config import SIZES, Block, Decoder, Fusion, Model
from mmvideo.objectives import MaskedPatches
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.stream import PatchSpec, StreamSpec, TokenStream
from mmvideo.training.config import Optimizer, Training
from mmvideo.training.state import AbstractTrainState, TrainState, init_abstract
from mmvideo.training.step import make_step

PATCH, STEPS, HIDDEN = (2, 16, 16), 8, 0.9
"""Tubelet size, tubelet steps of a clip, share of masked tubes."""

CLOSE = 1e-4
"""Largest relative difference of the two losses."""

TARGETS = {"eager": 1.3, "compiled": 1.0}
"""Target speed relative to the peer."""

MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
"""ImageNet's mean and deviation of colours in [0, 1], which normalise the peer's pixels."""

TRAINING = Training(
    steps=1000, optimizer=Optimizer(learning_rate=1.5e-4, warmup=10, b1=0.9, b2=0.95, weight_decay=0.05, clip=None)
)

Run = Callable[[], Any]
"""Start one step, and return a value that is ready when the step is."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The same batch for both.

    Attributes:
      stream: packed rows, one clip each.
      videos: pixels in [0, 255], frames by y by x by colour.
      hidden: mask of the patches that the encoder does not see, in grid order.
    """

    stream: TokenStream
    videos: np.ndarray
    hidden: np.ndarray


def make_inputs(batch: int, cells: int) -> Inputs:
    """Return clips of noise, `cells` patches wide and high, each with its own masked tubes."""
    draw, spec = np.random.default_rng(0), make_spec(cells)
    frames, pixels, shown = STEPS * PATCH[0], cells * PATCH[1], round((1 - HIDDEN) * cells * cells)
    videos = draw.integers(0, 256, (batch, frames, pixels, pixels, 3)).astype(np.uint8)
    tubes = np.stack([draw.permutation(cells * cells) >= shown for _ in range(batch)])
    hidden = np.tile(tubes, (1, STEPS))
    places = np.stack(np.unravel_index(np.arange(hidden.shape[1]), (STEPS, cells, cells)), axis=-1).astype(np.int32)
    seen, unseen, every = shown * STEPS, hidden.shape[1] - shown * STEPS, hidden.shape[1]
    needs = np.array([[seen, 1, seen, 0, 0, unseen, 0, 0, every]])
    shape, rows = BatchShape(spec, needs[0], ("video",), ()), []
    for number in range(batch):
        patches = rearrange(
            videos[number], "(t a) (y b) (x c) rgb -> (t y x) (a b c rgb)", a=PATCH[0], b=PATCH[1], c=PATCH[2]
        )
        tokens = Tokens(patches, hidden[number], places, places[:, 0].astype(np.float32))
        rows.append(assemble_row(shape, np.array([number]), [{"video": tokens}], needs, {}))
    return Inputs(stack_rows(rows), videos, hidden)


def make_spec(cells: int) -> StreamSpec:
    """Return a spec with video alone."""
    return StreamSpec(video=PatchSpec((*PATCH, 3), (STEPS, cells, cells), 0.25))


def make_model(size: str, compute: str) -> Model:
    """Return the recipe's model: a decoder of half the width, and of half the heads if that is an integer."""
    _, width, heads, _ = SIZES[size]
    return Model(
        size=size,
        fusion=Fusion("early"),
        block=Block(norm="layer", epsilon=1e-6, activation="gelu", biases="qv"),
        position="sincos_1d",
        decoder=Decoder(depth=4, width=width // 2, heads=heads // 2 if heads % 2 == 0 else heads),
        compute=compute,
    )


def make_plan(model: Model, cells: int) -> AbstractTrainState:
    """Return the learner's state, not yet computed."""
    objectives = {"masked_patches": MaskedPatches(audio=0.0, target="channel", epsilon="deviation")}
    return init_abstract(
        lambda rngs: Learner(model, make_spec(cells), objectives, rngs=rngs), TRAINING, make_mesh(Mesh())
    )


def stirred(params: Any) -> Any:
    """Return new parameters plus noise; the two that the peer's model does not have are 0."""
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.02 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    params = jax.tree.unflatten(tree, noisy)
    decoder = params["heads"]["masked_patches"]["decoder"]
    decoder["narrow"]["bias"] *= 0
    decoder["modality"]["table"] *= 0
    return params


def peer_weights(params: Any) -> dict[str, np.ndarray]:
    """Return our parameters with the names and layouts of `VideoMAEForPreTraining`."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    backbone, heads = params["trunk"], params["heads"]["masked_patches"]
    decoder, embed = heads["decoder"], backbone["embed"]
    # For a pixel p in [0, 1] our model reads 2 p - 1, the peer's (p - mean) / deviation.
    kernel = embed["video"]["dense"]["kernel"].reshape(*PATCH, 3, -1)
    bias = embed["video"]["dense"]["bias"] + embed["modality"]["table"][0]
    bias = bias + np.einsum("tyxcd,c->d", kernel, 2 * MEAN - 1)
    kernel = np.einsum("tyxcd,c->dctyx", kernel, 2 * DEVIATION)
    named = {
        "videomae.embeddings.patch_embeddings.projection.weight": kernel,
        "videomae.embeddings.patch_embeddings.projection.bias": bias,
        "videomae.layernorm.weight": backbone["norms"]["fused"]["scale"],
        "videomae.layernorm.bias": backbone["norms"]["fused"]["bias"],
        "encoder_to_decoder.weight": decoder["narrow"]["kernel"].T,
        "mask_token": decoder["mask"][None, None],
        "decoder.norm.weight": decoder["norm"]["scale"],
        "decoder.norm.bias": decoder["norm"]["bias"],
        "decoder.head.weight": heads["answers"]["video"]["kernel"].T,
        "decoder.head.bias": heads["answers"]["video"]["bias"],
    }
    for prefix, blocks in (
        ("videomae.encoder.layer", backbone["blocks"]),
        ("decoder.decoder_layers", decoder["blocks"]),
    ):
        for number in range(len(blocks["out_bias"])):
            layer = _peer_layer({name: stack[number] for name, stack in blocks.items()})
            named |= {f"{prefix}.{number}.{name}": value for name, value in layer.items()}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in named.items()}


def _peer_layer(layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return one layer under the peer's names; PyTorch's matrices are `[out, in]`."""
    queries, keys, values = (rearrange(part, "d n h -> (n h) d") for part in np.moveaxis(layer["qkv_kernel"], 1, 0))
    return {
        "attention.attention.query.weight": queries,
        "attention.attention.key.weight": keys,
        "attention.attention.value.weight": values,
        "attention.attention.query.bias": layer["qv_bias"][0].reshape(-1),
        "attention.attention.value.bias": layer["qv_bias"][1].reshape(-1),
        "attention.output.dense.weight": rearrange(layer["out_kernel"], "n h d -> d (n h)"),
        "attention.output.dense.bias": layer["out_bias"],
        "layernorm_before.weight": layer["attention_scale"],
        "layernorm_before.bias": layer["attention_bias"],
        "layernorm_after.weight": layer["feed_forward_scale"],
        "layernorm_after.bias": layer["feed_forward_bias"],
        "intermediate.dense.weight": layer["up_kernel"].T,
        "intermediate.dense.bias": layer["up_bias"],
        "output.dense.weight": layer["down_kernel"].T,
        "output.dense.bias": layer["down_bias"],
    }


class Peer:
    """The transformers model with our weights, and its data, on the device that JAX uses."""

    def __init__(self, model: Model, params: Any, inputs: Inputs):
        import torch
        from transformers import VideoMAEConfig, VideoMAEForPreTraining

        depth, width, heads, inner = SIZES[model.size]
        cells = inputs.videos.shape[2]
        config = VideoMAEConfig(
            image_size=cells, num_frames=inputs.videos.shape[1], tubelet_size=PATCH[0], patch_size=PATCH[1],
            hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=inner,
            layer_norm_eps=model.block.epsilon, use_mean_pooling=False, decoder_hidden_size=model.decoder.width,
            decoder_num_hidden_layers=model.decoder.depth, decoder_num_attention_heads=model.decoder.heads,
            decoder_intermediate_size=4 * model.decoder.width, norm_pix_loss=True,
        )  # fmt: skip
        self.device = "cuda" if jax.default_backend() == "gpu" else "cpu"
        self.model = VideoMAEForPreTraining(config)
        self.model.decoder.norm.eps = model.block.epsilon  # The config does not set it.
        weights = {name: torch.from_numpy(value) for name, value in peer_weights(params).items()}
        self.model.load_state_dict(weights, strict=True)
        self.model.to(self.device).train()
        pixels = (inputs.videos / 255 - MEAN) / DEVIATION
        self.pixels = torch.from_numpy(rearrange(pixels, "b t y x c -> b t c y x").astype(np.float32)).to(self.device)
        self.hidden = torch.from_numpy(inputs.hidden).to(self.device)

    def loss(self) -> float:
        """Return the loss in float32."""
        import torch

        torch.set_float32_matmul_precision("highest")
        with torch.no_grad():
            return float(self.model(self.pixels, bool_masked_pos=self.hidden).loss)

    def step(self, compiled: bool, compute: str) -> Run:
        """Return a training step, eager or by `torch.compile`, with a new optimiser."""
        import torch

        torch.set_float32_matmul_precision("high")
        model, given = torch.compile(self.model) if compiled else self.model, TRAINING.optimizer
        moments = given.moments()
        optimizer = torch.optim.AdamW(
            self.model.parameters(), given.learning_rate, (moments["b1"], moments["b2"]),
            weight_decay=given.weight_decay, fused=self.device == "cuda",
        )  # fmt: skip

        def run() -> Any:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(self.device, torch.bfloat16, enabled=compute == "bfloat16"):
                loss = model(self.pixels, bool_masked_pos=self.hidden).loss
            loss.backward()
            optimizer.step()
            return loss

        return run

    def wait(self) -> None:
        """Wait until the device is done."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()


def measure(
    size: str, batch: int, cells: int, compute: str, runners: list[str], rounds: int, steps: int, unrolled: bool
) -> list[dict]:
    """Compare the losses, then time all runners in turn; return a dict for each, ours first.

    Raises:
      ValueError: the losses differ.
    """
    inputs = make_inputs(batch, cells)
    plan, stream = make_plan(make_model(size, compute), cells), jax.device_put(inputs.stream)
    state = plan.create()
    state = dataclasses.replace(state, params=stirred(state.params))
    peer = Peer(make_model(size, "float32"), state.params, inputs)
    losses = {"loss": exact_loss(size, cells, state.params, stream), "peer_loss": peer.loss()}
    if not abs(losses["loss"] - losses["peer_loss"]) <= CLOSE * abs(losses["peer_loss"]):
        raise ValueError(
            "the losses of the same weights differ: {loss:.6f} here, {peer_loss:.6f} there".format(**losses)
        )
    runs = {"ours": our_step(plan, state, stream)}
    if unrolled:  # A step donates the buffers of its state.
        loose = make_plan(dataclasses.replace(make_model(size, compute), scan=False), cells)
        runs["unrolled"] = our_step(loose, jax.tree.map(jnp.copy, state), stream)
    runs |= {name: peer.step(name == "compiled", compute) for name in runners}
    first = {name: 3 * timed(run, peer, 3) for name, run in runs.items()}
    times = [{name: timed(run, peer, steps) for name, run in runs.items()} for _ in range(rounds)]
    seconds = {name: statistics.median(taken[name] for taken in times) for name in runs}
    flops, peak = step_flops(size, cells, inputs.stream), peak_flops()
    found = {"size": size, "clips": batch, "tokens": inputs.hidden.shape[1], "compute": compute} | losses
    return [
        found
        | {"runner": name, "seconds": taken, "clips_per_second": batch / taken, "first_seconds": first[name]}
        | {"mfu": flops / taken / peak if peak else None, "ratio": taken / seconds["ours"]}
        for name, taken in seconds.items()
    ]


def exact_loss(size: str, cells: int, params: Any, stream: TokenStream) -> float:
    """Return our loss in float32."""
    graph = make_plan(make_model(size, "float32"), cells).graphdef
    with jax.default_matmul_precision("highest"):
        return float(jax.jit(lambda params: nnx.merge(graph, params, {}).losses(stream)[0])(params))


def our_step(plan: AbstractTrainState, state: TrainState, stream: TokenStream) -> Run:
    """Return our training step; each call continues from the previous one."""
    program, box = make_step(plan.graphdef, TRAINING), [state]

    def run() -> Any:
        box[0], metrics = program(box[0], stream)
        return box[0], metrics

    return run


def timed(run: Run, peer: Peer, steps: int) -> float:
    """Return seconds per step over this many steps, until the device is done; on a CPU, processor seconds."""
    clock = time.perf_counter if peer.device == "cuda" else time.process_time
    began = clock()
    for _ in range(steps):
        last = run()
    # The peer's loss is not a JAX array, and passes through.
    jax.block_until_ready(last)
    peer.wait()
    return (clock() - began) / steps


def step_flops(size: str, cells: int, stream: TokenStream) -> float:
    """Return model FLOPs of loss and gradient; every row is one full clip, so dense attention is the exact count."""
    counted = dataclasses.replace(make_model(size, "bfloat16"), attention="xla")
    plan = make_plan(counted, cells)

    def loss(params: Any, stream: TokenStream) -> Any:
        return nnx.merge(plan.graphdef, params, {}).losses(stream)[0]

    return count_flops(jax.value_and_grad(loss), plan.abstract.params, stream)


def main() -> int:
    """Measure every requested size, and print a line for each runner."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["B"], choices=SIZES, help="sizes of the encoder")
    parser.add_argument("--runners", nargs="*", default=["eager", "compiled"], choices=TARGETS, help="of the peer")
    parser.add_argument("--batch", type=int, default=32, help="clips in a step")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the median counts")
    parser.add_argument("--steps", type=int, default=5, help="steps of a runner in a round")
    parser.add_argument("--unrolled", action="store_true", help="time our step with unrolled layers too")
    parser.add_argument("--small", action="store_true", help="frames with a quarter of the patches, for a CPU")
    parser.add_argument("--json", type=Path, help="also append the results to this file, one object per line")
    options = parser.parse_args()
    # Two programs share the device.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        import torch
        import transformers
    except ImportError as error:
        parser.error(f'{error}; pip install "mmvideo[bench-peer]"')
    gpu = jax.default_backend() == "gpu"
    if not gpu:
        torch.set_num_threads(1)  # Otherwise its threads wait for each other, and the waiting is counted too.
    device = f"{jax.devices()[0].device_kind}, jax {jax.__version__}, torch {torch.__version__}"
    device += f", transformers {transformers.__version__}"
    print(f"{device}; {options.batch} clips a step, median of {options.rounds} rounds of {options.steps}")
    print(row(["size", "runner", "clips/s", "MFU", "first steps", "ours/peer"]))
    bad = False
    for size in options.sizes:
        compute = "bfloat16" if gpu else "float32"
        cells = 7 if options.small else 14
        lines = measure(
            size, options.batch, cells, compute, options.runners, options.rounds, options.steps, options.unrolled
        )
        for line in lines:
            mfu, name = "" if line["mfu"] is None else f"{line['mfu']:.3f}", line["runner"]
            ratio = "" if name == "ours" else f"{line['ratio']:.2f}"
            speed = f"{line['clips_per_second']:.2f}"
            print(row([size, name, speed, mfu, f"{line['first_seconds']:.0f} s", ratio]), flush=True)
            bad |= gpu and line["ratio"] < TARGETS.get(name, 0)
        print(f"losses of the same weights: {lines[0]['loss']:.6f} here, {lines[0]['peer_loss']:.6f} there")
        if options.json:
            with options.json.open("a") as file:
                date = time.strftime("%Y-%m-%d")
                file.writelines(json.dumps(line | {"device": device, "date": date}) + "\n" for line in lines)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
