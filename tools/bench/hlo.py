"""Price the step of `step.py` for a GPU that is not present, from the program that XLA compiles for it.

COMMAND  python tools/bench/hlo.py [--sizes B L] [--layers scanned unrolled] [--devices h100 h200] [--depths 24]
                                   [--change WORDS] [--json FILE]
COST     no accelerator; JAX's CUDA plugin (pip install "mmvideo[cuda]"). Processor seconds per program: 60 scanned;
         unrolled 30, and 6 per layer

Clips, task and rows are those of the measured lines of `experiments/benchmarks/README.md`: tri-modal, whole rows, 16
clips for B and 8 for L. Attention is tokamax's, as calls without a body (`mmvideo/model/attention/tokamax_shapes.py`);
the price list is `mmvideo/cost_model/prices.py`.

depths   numbers of layers, multiples of three. Every price is linear in the number of equal layers,
         so two depths smaller than the model's are extrapolated to the model's own: unrolled layers then compile in a
         fraction of the time. Two thirds of the layers have separate modalities, as in the model.
folders  written by XLA with --xla_dump_to, one for each of the depths, used instead of compiling; for one size, one
         device, and either scanned or unrolled layers
change   name of the code change, for the table
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import step

from mmvideo.cost_model.attention_flops import attention_flops
from mmvideo.cost_model.buffer_assignment import find_assignment
from mmvideo.cost_model.compile_targets import Target, target
from mmvideo.cost_model.devices import DEVICES
from mmvideo.cost_model.prices import Line, Spans
from mmvideo.experiment.planning.priced import Priced, as_dict, priced
from mmvideo.experiment.planning.xla_compile import OPTIONS, STEP, described, lower_learner, watch_compiler
from mmvideo.model.attention.dispatch import traced_for_gpu
from mmvideo.model.config import Fusion, Model, model_dims
from mmvideo.objectives.learner import Learner
from mmvideo.training.config import Optimizer, Training

CLIPS = {"B": 16, "L": 8}
"""Clips of the measured rows; 8 for other sizes."""

MEASURED = {"B": 99.6, "L": 146.8}
"""Milliseconds of a scanned step on an H100, `experiments/benchmarks/README.md`."""


def model_of(case: step.Case, depth: int) -> Model:
    """Return the transformer of a case with another depth; two thirds of its layers have separate modalities."""
    fusion = Fusion("mid", layer=max(2 * depth // 3, 1), text="causal")
    return dataclasses.replace(step.model(case), depth=depth, fusion=fusion)


def compile_here(question: dict[str, Any]) -> None:
    """Compile the requested program; the process ends as soon as buffers are assigned."""
    import numpy as np
    from jax.sharding import AxisType, Mesh

    from mmvideo.parallel.mesh import AXES

    case, streams = step.Case(**question["case"]), step.spec(False)
    one = step.make_batch(case, 1, streams)
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((question["clips"], *leaf.shape[1:]), leaf.dtype), one)
    devices = described(Target(**question["target"]))
    mesh = Mesh(np.array(devices).reshape((1,) * len(AXES)), AXES, axis_types=(AxisType.Auto,) * len(AXES))

    def make(rngs: Any) -> Learner:
        return Learner(model_of(case, question["depth"]), streams, step.objectives(case), rngs=rngs)

    training = Training(steps=1000, optimizer=Optimizer(warmup=10))
    with traced_for_gpu():
        lowered = lower_learner(make, training, batch, mesh)
    lowered.compile(OPTIONS["gpu"])


def price(size: str, layers: str, device: str, depth: int, folder: Path | None = None) -> Priced:
    """Compile one program in its own process, or read XLA's output from a folder, and price it."""
    case = step.Case(size, "trimodal", "whole", "auto", "none", layers)
    clips, streams, model = CLIPS.get(size, 8), step.spec(False), model_of(case, depth)
    asked = dataclasses.asdict(target(DEVICES[device], 1))
    question = {"case": dataclasses.asdict(case), "clips": clips, "target": asked, "depth": depth}
    began = time.perf_counter()
    if folder is None:
        found = watch_compiler([sys.executable, __file__, "--child"], json.dumps(question), "cuda")
    else:
        found = find_assignment(folder, STEP, "cuda") or f"{folder} holds no program that was compiled"
    if isinstance(found, str):
        raise ValueError(f"{size}, {layers}, {depth} layers did not compile: {found}")
    counts = {name: len(part.hidden) for name, part in step.clip(0, step.STEPS, streams).items()}
    numbers = model_dims(model)
    dense = 4 * numbers.width * depth * sum(counts.values()) ** 2
    spans = Spans(attention_flops(model, counts) / dense, numbers.width)
    return priced(found, device, layers, clips, 0.0, spans, time.perf_counter() - began)


def stretched(few: Priced, more: Priced, depths: tuple[int, int, int]) -> Priced:
    """Extrapolate the prices of two depths to a third."""
    factor = (depths[2] - depths[1]) / (depths[1] - depths[0])
    known = {line.category: line for line in few.lines}

    def beyond(line: Line) -> Line:
        old = known.get(line.category, Line(line.category, 0.0, 0, 0.0, 0.0))
        values = {
            name: getattr(line, name) + factor * (getattr(line, name) - getattr(old, name))
            for name in ("seconds", "kernels", "flops", "bytes")
        }
        return Line(line.category, **values | {"kernels": round(values["kernels"])})

    lines = tuple(map(beyond, more.lines))
    bytes_ = [round(b + factor * (b - a)) for a, b in ((few.arguments, more.arguments), (few.scratch, more.scratch))]
    return dataclasses.replace(
        more, lines=lines, seconds=sum(line.seconds for line in lines), arguments=bytes_[0], scratch=bytes_[1]
    )


def with_mfu(found: Priced, size: str) -> Priced:
    """Add MFU, the model's FLOPs as a share of the device's peak."""
    case = step.Case(size, "trimodal", "whole", "xla", "none", "scanned")
    flops = step.step_flops(case, found.rows, step.spec(False))
    return dataclasses.replace(found, mfu=flops / found.seconds / DEVICES[found.device].flops)


def table(size: str, found: list[Priced]) -> str:
    """Return a table of milliseconds by category, with one column per program."""
    names = list(dict.fromkeys(line.category for each in found for line in each.lines))
    head = f"{size}, {found[0].rows} clips, {found[0].device}"
    rows = [[head, *(each.layers for each in found)]]
    for name in names:
        lines = [next((line for line in each.lines if line.category == name), None) for each in found]
        rows.append([name, *("" if line is None else f"{line.seconds * 1e3:.1f} ({line.kernels:,})" for line in lines)])
    rows.append(["all", *(f"{each.seconds * 1e3:.1f}" for each in found)])
    rows.append(["MFU", *(f"{each.mfu:.3f}" if each.mfu else "" for each in found)])
    rows.append(["GiB", *(f"{(each.arguments + each.scratch) / 2**30:.2f}" for each in found)])
    rows.append(["compiled in", *(f"{each.compiling:.0f} s" for each in found)])
    if found[0].device == "h100" and size in MEASURED and any(each.layers == "scanned" for each in found):
        rows.append([f"measured before, scanned: {MEASURED[size]} ms"])
    return "\n".join("".join([f"{row[0]:42}", *(f"{cell:>16}" for cell in row[1:])]) for row in rows)


def main() -> int:
    """Price every requested program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["L"])
    parser.add_argument("--layers", nargs="+", default=["scanned", "unrolled"])
    parser.add_argument("--devices", nargs="+", default=["h100"])
    parser.add_argument("--depths", nargs="+", type=int, help="default: the model's own")
    parser.add_argument(
        "--folders", nargs="+", type=Path, help="XLA dumps of programs of these depths, compiled before"
    )
    parser.add_argument("--change", default="", help="name of the code change, written to the file")
    parser.add_argument("--json", type=Path, help="also append the results to this file, one object per line")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        compile_here(json.load(sys.stdin))
        return 0
    for device in options.devices:
        for size in options.sizes:
            folders = options.folders or (None, None)
            found = [measure(size, layers, device, options.depths, folders) for layers in options.layers]
            print(table(size, found), flush=True)
            for each in found if options.json else ():
                known = {"change": options.change, "size": size, "date": time.strftime("%Y-%m-%d")}
                known |= {"depths": options.depths, "jax": jax.__version__}
                with options.json.open("a") as file:
                    file.write(json.dumps(known | rounded(as_dict(each))) + "\n")
    return 0


def measure(
    size: str, layers: str, device: str, depths: list[int] | None, folders: Sequence[Path | None] = (None, None)
) -> Priced:
    """Return the price of a size, from programs of these depths."""
    own = model_dims(Model(size=size)).depth
    made = [price(size, layers, device, *each) for each in zip(depths or [own], folders, strict=False)]
    if len(made) == 1 and depths not in (None, [own]):
        return made[0]  # the FLOPs are those of another model
    return with_mfu(made[0] if len(made) == 1 else stretched(*made, (*depths, own)), size)


def rounded(value: Any) -> Any:
    """Round the numbers of a JSON line to six digits."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
