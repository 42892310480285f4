"""Measure the cost of a generated text token, with a key-value cache and with the whole backbone run again.

COMMAND  python tools/bench/decoding.py [--size nano] [--lengths 8 32 64 128] [--json FILE]
COST     1 core, 2 minutes, with the size nano

Rows hold as many clips of video, audio and text as fit. For every length of text the table has the time of the cached
step (`mmvideo.model.transformer.kv_cache.decode_step`) for one text token of all clips, early and late in the text; the
time of a full pass of the backbone, which is a step without a cache; and the FLOPs of both as XLA counts them. All are
medians of interleaved runs in one process, so their ratios hold on a busy machine too.

Exit code 1 if a late token costs more than 1.2 times an early one, or the cached step saves less than half the FLOPs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from mmvideo.model.config import Fusion, Model
from mmvideo.model.transformer.kv_cache import decode_step, empty_cache, prefill
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import Clips, PatchSpec, StreamSpec, TextSpec, TokenLayout, TokenStream

VIDEO, AUDIO = (8, 7, 7), (16, 8, 1)
"""Token grids of a clip."""

ROWS, CLIPS = 2, 4

MOST = 1.2
"""Largest ratio of a late token's time to an early token's."""


def make_stream(length: int) -> tuple[StreamSpec, TokenStream]:
    """Return rows of clips with texts of one length."""
    spec = StreamSpec(
        PatchSpec((2, 16, 16, 3), VIDEO, 0.25), PatchSpec((16, 16), AUDIO, 0.16), TextSpec(8000, length, 4, 2, 3)
    )
    counts = [int(np.prod(VIDEO)), int(np.prod(AUDIO)), length]
    draw = np.random.default_rng(0)
    content = {
        "video": draw.integers(0, 256, (ROWS, CLIPS * counts[0], spec.video.size)).astype(np.uint8),
        "audio": draw.normal(size=(ROWS, CLIPS * counts[1], spec.audio.size)).astype(np.float32),
        "text": draw.integers(5, 8000, (ROWS, CLIPS * counts[2])).astype(np.int32),
    }
    bases = np.cumsum([0, *(CLIPS * count for count in counts[:2])])
    shapes = (VIDEO, AUDIO, (1, 1, length))
    grids = [np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=-1) for shape in shapes]
    clip = np.repeat(np.arange(CLIPS), sum(counts))
    modality = np.tile(np.repeat(np.arange(3), counts), CLIPS)
    within = np.tile(np.concatenate([np.arange(count) for count in counts]), CLIPS)
    grid = np.tile(np.concatenate(grids), (CLIPS, 1))
    index = bases[modality] + clip * np.array(counts)[modality] + within
    layout = TokenLayout(index, modality, clip, grid[:, 0] * np.array([0.25, 0.16, 0])[modality], grid)
    layout = jax.tree.map(lambda field: np.broadcast_to(field, (ROWS, *field.shape)), layout)
    layout = dataclasses.replace(
        jax.tree.map(lambda field: field.astype(np.int32), layout), time=layout.time.astype(np.float32)
    )
    clips = Clips(np.arange(ROWS * CLIPS).reshape(ROWS, CLIPS), np.ones((ROWS, CLIPS, 3), bool), {})
    return spec, jax.tree.map(jnp.asarray, TokenStream(content, layout, {}, None, clips))


def steps(size: str, length: int) -> tuple[Callable, Callable, float, float]:
    """Return a cached step `(number) -> ready`, a full pass `() -> ready`, and the FLOPs of both."""
    spec, stream = make_stream(length)
    config = Model(size, fusion=Fusion("mid", 2, text="causal"), compute="float32", scan=False)
    backbone = MultimodalTransformer(config, spec, rngs=nnx.Rngs(0))
    graph, state = nnx.split(backbone)
    seen = jax.jit(lambda state, stream: prefill(nnx.merge(graph, state), stream))(state, stream)
    written = tuple(kept.pad_to(length) for kept in empty_cache(seen, CLIPS))
    piece = jnp.full((ROWS, 1, CLIPS, 1), 7, jnp.int32)

    def one(state, seen, written, number):
        known = jnp.broadcast_to(jnp.arange(length) < number, (ROWS, CLIPS, length))
        top, new = decode_step(nnx.merge(graph, state), seen, written, piece, piece * 0 + number, known)
        return top, tuple(old.update(more, number) for old, more in zip(written, new, strict=True))

    def everything(state, stream):
        return nnx.merge(graph, state)(stream).top

    # The cache is overwritten, as in a loop.
    cached = jax.jit(one, donate_argnums=2).lower(state, seen, written, jnp.int32(0)).compile()
    whole = jax.jit(everything).lower(state, stream).compile()
    box = [written]

    def run(number: int) -> None:
        top, box[0] = cached(state, seen, box[0], jnp.int32(number))
        jax.block_until_ready((top, box[0]))

    return (
        run,
        lambda: jax.block_until_ready(whole(state, stream)),
        *(program.cost_analysis()["flops"] for program in (cached, whole)),
    )


def measure(runs: dict[str, Callable[[], None]], times: int) -> dict[str, float]:
    """Return median milliseconds of each, run in turn, each once beforehand to warm the processor's caches."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(times + 1):
        for name, run in runs.items():
            run()
            start = time.perf_counter()
            run()
            if turn:
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in taken.items()}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="nano", help="size of the model (default: nano)")
    parser.add_argument("--lengths", type=int, nargs="+", default=[8, 32, 64, 128], help="lengths of texts, in tokens")
    parser.add_argument("--times", type=int, default=15, help="runs of each (default: 15)")
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    print(f"{ROWS} rows of {CLIPS} clips, size {options.size}, {jax.default_backend()}; ms a piece of all clips")
    print(f"{'length':>8}{'early':>10}{'late':>10}{'whole':>10}{'late/early':>12}{'whole/late':>12}{'FLOPs less':>12}")
    found, good = {}, True
    for length in options.lengths:
        run, whole, few, many = steps(options.size, length)
        runs = {"early": lambda run=run: run(1), "late": lambda run=run, last=length - 1: run(last), "whole": whole}
        taken = measure(runs, options.times)
        growth, gain, less = taken["late"] / taken["early"], taken["whole"] / taken["late"], many / few
        cells = "".join(f"{taken[name]:>10.2f}" for name in runs)
        print(f"{length:>8}{cells}{growth:>12.2f}{gain:>12.1f}{less:>12.1f}", flush=True)
        found[length] = taken | {"flops": few, "whole_flops": many}
        good &= growth <= MOST and less >= 2
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
