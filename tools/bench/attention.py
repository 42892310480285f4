"""Time attention on this GPU: tokamax's kernels, forward and backward, by spans and block sizes.

COMMAND  python tools/bench/attention.py [--lengths 2128] [--heads 16] [--head 64] [--batch 8] [--spans narrow full]
                                         [--tune] [--json FILE]
COST     one Hopper GPU and tokamax; 20 seconds per line, with --tune 4 to 8 minutes per length, most of it compilation

Each line is one call of the model's own attention in bfloat16, forward only and then with its gradient.

spans    `full`: every query attends to every key. `narrow`: three parts of a row that attend to themselves, with 1568,
         512 and 48 of 2128 tokens, as for video, audio and text. If a kernel skips work, its rate in FLOPs of all pairs
         per second is higher for narrow spans.
tune     tries the sizes of `CHOICES` on full spans, forward and then backward, and prints the fastest as lines for
         `mmvideo/model/attention/tokamax_blocks.json`, to be added there by hand
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmvideo.model.attention.tokamax import tokamax_attention
from mmvideo.model.attention.tokamax_blocks import Blocks, nearest_blocks

PARTS = (1568, 512, 48)
"""Tokens of video, audio and text; in proportion for other lengths."""

CHOICES = {
    "forward": {"block_q": (64, 128), "block_kv": (64, 128), "num_stages": (2, 3, 4), "persistent": (False, True)},
    "backward": {"block_q": (64, 128), "block_kv": (64, 128), "num_stages": (2, 3), "compute_wgs": (1, 2)},
}
"""Block sizes to try. `block_kv` is at most the size to which keys are padded (`attention/tokamax.BLOCK`)."""

REPEATS = 20
"""Number of timed calls; the median counts."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """Shape of an attention call."""

    batch: int
    length: int
    heads: int
    head: int

    @property
    def flops(self) -> float:
        """Return the forward FLOPs of all pairs."""
        return 4.0 * self.batch * self.length**2 * self.heads * self.head


def spans_of(kind: str, shape: Shape) -> np.ndarray:
    """Return `[B, L, 2]`: the first key that each query attends to, and the end of its span (exclusive)."""
    shares = np.array(PARTS if kind == "narrow" else (1,))
    edges = np.round(np.concatenate([[0], np.cumsum(shares)]) / shares.sum() * shape.length).astype(np.int32)
    part = np.searchsorted(edges, np.arange(shape.length), side="right") - 1
    each = np.stack([edges[part], edges[part + 1]], axis=-1)
    return np.broadcast_to(each, (shape.batch, shape.length, 2))


def inputs(shape: Shape) -> tuple[jax.Array, ...]:
    """Return queries, keys, values, and the gradient of the output."""
    keys = jax.random.split(jax.random.key(0), 4)
    sides = (shape.batch, shape.length, shape.heads, shape.head)
    return tuple(jax.random.normal(key, sides, jnp.bfloat16) for key in keys)


def seconds(run: Callable[..., Any], *arguments: Any) -> float:
    """Return the median time of a compiled call."""
    run = jax.jit(run)
    jax.block_until_ready(run(*arguments))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(run(*arguments))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure(shape: Shape, spans: np.ndarray, blocks: Blocks | None) -> tuple[float, float]:
    """Return seconds of the forward pass, and of the gradient alone: both together minus the forward pass."""
    q, k, v, gradient = inputs(shape)
    spans = jnp.asarray(spans)

    def forward(q: Any, k: Any, v: Any) -> Any:
        return tokamax_attention(q, k, v, spans, operators=("mosaic_gpu",), blocks=blocks)

    def both(q: Any, k: Any, v: Any, gradient: Any) -> Any:
        out, back = jax.vjp(forward, q, k, v)
        return out, back(gradient)

    one, two = seconds(forward, q, k, v), seconds(both, q, k, v, gradient)
    return one, two - one


def tried(which: str) -> Iterator[dict[str, Any]]:
    """Yield every choice of block sizes."""
    names = CHOICES[which]
    for values in itertools.product(*names.values()):
        yield dict(zip(names, values, strict=True))


def tune(shape: Shape) -> Blocks:
    """Return the fastest sizes for full spans: first forward, then backward with these."""
    spans, base = spans_of("full", shape), nearest_blocks(shape.head, shape.length)
    best = base or Blocks(shape.head, shape.length, next(tried("forward")), next(tried("backward")), (0, 0))
    best = dataclasses.replace(best, length=shape.length)
    for place, which in enumerate(("forward", "backward")):
        times = []
        for sizes in tried(which):
            blocks = dataclasses.replace(best, **{which: sizes})
            try:
                times.append((measure(shape, spans, blocks)[place], sizes))
            except Exception as error:  # sizes too large for the device fail with several kinds of errors
                print(f"  {which} {sizes}: {type(error).__name__} {str(error).splitlines()[0][:80]}", flush=True)
                continue
            print(f"  {which} {sizes}: {times[-1][0] * 1e3:.3f} ms", flush=True)
        if not times:
            raise ValueError(f"none of the sizes ran {which} for {shape}")
        best = dataclasses.replace(best, **{which: min(times, key=lambda pair: pair[0])[1]})
    forward, backward = measure(shape, spans, best)
    reached = (round(shape.flops / forward / 1e12), round(2.5 * shape.flops / backward / 1e12))
    return dataclasses.replace(best, tflops=reached)


def main() -> int:
    """Measure or tune."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", nargs="+", type=int, default=[2128])
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--head", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--spans", nargs="+", choices=["narrow", "full"], default=["narrow", "full"])
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--json", type=Path, help="also append the results to this file, one object per line")
    options = parser.parse_args()
    device = jax.devices()[0]
    if str(getattr(device, "compute_capability", "")) != "9.0":
        print(f"attention.py needs a Hopper GPU; this is {device.device_kind}", file=sys.stderr)
        return 2
    print(f"{device.device_kind}, jax {jax.__version__}; TFLOP/s of all pairs, backwards 2.5 times the forward FLOPs")
    for length in options.lengths:
        shape = Shape(options.batch, length, options.heads, options.head)
        if options.tune:
            print(json.dumps(dataclasses.asdict(tune(shape))), flush=True)
            continue
        for kind, tuned in itertools.product(options.spans, (False, True)):
            blocks = nearest_blocks(shape.head, length) if tuned else None
            found = measure(shape, spans_of(kind, shape), blocks)
            rates = (shape.flops / found[0] / 1e12, 2.5 * shape.flops / found[1] / 1e12)
            words = "tuned" if tuned else "tokamax's own"
            print(
                f"{length:6} {kind:7} {words:14} forward {found[0] * 1e3:7.3f} ms {rates[0]:5.0f}   "
                f"backward {found[1] * 1e3:7.3f} ms {rates[1]:5.0f}",
                flush=True,
            )
            if options.json:
                known = dataclasses.asdict(shape) | {"spans": kind, "blocks": words, "device": device.device_kind}
                line = known | {"forward": found[0], "backward": found[1], "date": time.strftime("%Y-%m-%d")}
                with options.json.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
