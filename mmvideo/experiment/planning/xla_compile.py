"""A recipe's training step, compiled by XLA for devices that are not present, and its memory and collectives.

    python -m mmvideo.experiment.planning.xla_compile < question.json

Compilation has its own process: the number of simulated devices must be set before JAX starts, and the process is ended
as soon as XLA has assigned its buffers (`cost_model/buffer_assignment.py`), since no machine code is needed. Compiling
allocates nothing, so shapes may be those of a cluster. The accelerator's own compiler is used where it is installed,
which needs no accelerator: JAX's CUDA plugin for GPUs (`pip install "mmvideo[cuda]"`), libtpu for TPUs
(`pip install "jax[tpu]"`). Everything else is compiled for as many CPU devices. CPUs compute bfloat16 in float32 and
fuse less, so XLA reports more scratch bytes there than an accelerator needs. Arguments are the same to the byte, and
collectives the same except for how they are merged.

The fused attention kernel of the device is unknown here. Attention in blocks of `abstract_model.BLOCK` keys replaces
it, which is linear in memory as fused kernels are. Compiled so, the two steps of `experiments/benchmarks/` whose
program is still the same take 1.8 % (B) and 0.8 % (L) more than with tokamax's kernels on the H100 itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmvideo.cost_model.buffer_assignment import DUMPING, Assignment, find_assignment
from mmvideo.cost_model.collectives import Collective, read_collectives
from mmvideo.cost_model.compile_targets import Target
from mmvideo.experiment.config import Experiment, from_json, to_json
from mmvideo.model.attention.dispatch import traced_for_gpu
from mmvideo.model.config import Model
from mmvideo.model.kinds import ModelConfig
from mmvideo.parallel.mesh import AXES, axis_sizes
from mmvideo.training.config import Training

LIGHT = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""Options that skip work after the buffer assignment: nothing is run."""

UNTRIED = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
"""Options for GPUs: kernels cannot be autotuned without a GPU.

Matrix products use cuBLAS, since XLA's own kernels fail to compile where the first tiling does not fit and no other may
be tried.
"""

OPTIONS = {"cpu": LIGHT, "gpu": LIGHT | UNTRIED}
"""Compiler options by platform."""


STEP = "jit_step"
"""Name of the program in XLA (`training/step.py`)."""

PAUSE = 0.1
"""Seconds between two checks of XLA's output."""


@dataclasses.dataclass(frozen=True)
class Compiled:
    """XLA's report on a step, for one device.

    Attributes:
      platform: target platform in words.
      own: whether the device's own compiler was used; else it was compiled for CPUs.
      arguments: bytes of state and batch.
      scratch: bytes that the program allocates besides; the new state overwrites the old one.
      collectives: communication between devices.
      seconds: time of the compilation.
    """

    platform: str
    own: bool
    arguments: int
    scratch: int
    collectives: tuple[Collective, ...]
    seconds: float

    @property
    def total(self) -> int:
        """Bytes of the step."""
        return self.arguments + self.scratch


def compile_in_subprocess(experiment: Experiment, devices: int, target: Target | None = None) -> Compiled:
    """Compile a step of an experiment in a separate process, up to the buffer assignment.

    Args:
      experiment: the settings, with the mesh and rows for `devices`.
      devices: number of devices.
      target: compile target; None is as many CPU devices.

    Raises:
      ValueError: the program does not compile, with the last line of the compiler's output.
    """
    began = time.perf_counter()
    found = ask_program(experiment, devices, target)
    return Compiled(
        platform=f"{devices} x {'CPU' if target is None else target.title}",
        own=target is not None,
        arguments=found.arguments,
        scratch=found.scratch,
        collectives=read_collectives(found.text),
        seconds=time.perf_counter() - began,
    )


def ask_program(
    experiment: Experiment, devices: int, target: Target | None = None, layers: str | None = None
) -> Assignment:
    """Return XLA's program of a step at the time when its buffers are assigned.

    Args:
      experiment, devices, target: as for `compile_in_subprocess`.
      layers: `scanned` or `unrolled`, with calls in place of a GPU's attention kernels, as it would run there; None is
        scanned, with attention in blocks.

    Raises:
      ValueError: as `compile_in_subprocess`.
    """
    asked = None if target is None else dataclasses.asdict(target)
    question = {"experiment": to_json(experiment), "devices": devices, "target": asked, "layers": layers}
    command = [sys.executable, "-m", "mmvideo.experiment.planning.xla_compile"]
    found = watch_compiler(command, json.dumps(question), "cpu" if target is None else target.platform)
    if isinstance(found, str):
        raise ValueError(f"the step did not compile for {devices} devices: {found}")
    return found


def watch_compiler(command: Sequence[str], question: str, platform: str) -> Assignment | str:
    """Start a process that compiles a step, and end it when XLA has written the buffer assignment.

    Args:
      command: command of the process, which compiles a program called `STEP`.
      question: its standard input.
      platform: JAX platform: `cpu`, `cuda` or `tpu`.

    Returns:
      The buffer assignment, or an error line.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _compile(list(command), question, Path(folder), platform)


def _compile(command: list[str], question: str, folder: Path, platform: str) -> Assignment | str:
    """Run the process until its buffer assignment is there; return that, or an error line."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} {DUMPING.format(folder)}"
    quiet = {
        "JAX_PLATFORMS": "cpu",
        # libtpu would ask the metadata server of a cloud machine, and wait for it elsewhere.
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        # libtpu would lock the chips of this host for one process; none is used here, so others may keep them.
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    (folder / "question").write_text(question, encoding="utf-8")
    with (folder / "question").open() as asked, (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command,
            stdin=asked,
            stdout=said,
            stderr=said,
            # Without the compilation cache: a cached program is not compiled again, and then XLA writes no assignment.
            env=os.environ | quiet | {"XLA_FLAGS": flags, "JAX_ENABLE_COMPILATION_CACHE": "false"},
        )
        try:
            while (found := find_assignment(folder, STEP, platform)) is None and process.poll() is None:
                time.sleep(PAUSE)
        finally:
            process.kill()
            process.wait()
    said = (folder / "said").read_text(encoding="utf-8", errors="replace")
    # The process may have ended between the check of the files and that of the process.
    return found or find_assignment(folder, STEP, platform) or _last_words(said)


def _last_words(said: str) -> str:
    """Return the line of an output that names the cause."""
    lines = [line for line in said.splitlines() if line.strip() and not line.startswith("#")]
    told = [line for line in lines if re.match(r"ValueError|.*(RESOURCE_EXHAUSTED|JaxRuntimeError)", line)]
    return (told or lines or ["it does not say why"])[-1][:400]


def compile_step(experiment: Experiment, devices: list[Any], layers: str | None = None) -> None:
    """Compile a step for these devices, which may be mere descriptions; `layers` is as in `ask_program`."""
    import numpy as np
    from jax.sharding import AxisType, Mesh

    from mmvideo.experiment.build_learner import make_learner
    from mmvideo.experiment.planning.abstract_batch import abstract_stream
    from mmvideo.experiment.planning.abstract_model import for_memory, sketched

    sketch, shape = sketched(experiment), axis_sizes(experiment.mesh, len(devices))
    model = for_memory(experiment.model) if layers is None else with_layers(experiment.model, layers)
    mesh = Mesh(np.array(devices).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    batch = abstract_stream(sketch.shape, experiment.input.packing.rows)
    with nullcontext() if layers is None else traced_for_gpu():
        lowered = lower_learner(
            lambda rngs: make_learner(experiment, sketch.spec, rngs, model), experiment.training, batch, mesh
        )
    lowered.compile(OPTIONS.get(devices[0].platform))


def with_layers(model: ModelConfig, layers: str) -> ModelConfig:
    """Return the model with its layers `scanned`, or `unrolled` as far as `model.scan auto` does it on a GPU."""
    scan = True if layers == "scanned" else "auto"
    return dataclasses.replace(model, scan=scan) if isinstance(model, Model) else model


def lower_learner(make: Callable[[Any], Any], training: Training, batch: Any, mesh: Any) -> Any:
    """Return the lowered step of a learner, on a mesh of devices that need not exist.

    Args:
      make: function from `nnx.Rngs` to the learner.
      training: training settings.
      batch: batch of abstract arrays.
      mesh: mesh of the devices.
    """
    import jax

    from mmvideo.parallel.rules import batch_sharding
    from mmvideo.training.state import init_abstract
    from mmvideo.training.step import make_step

    abstract_state, rows = init_abstract(make, training, mesh), batch_sharding(mesh)
    batch = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows), batch)
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state.abstract)
    with jax.set_mesh(mesh):
        return make_step(abstract_state.graphdef, training, places).lower(abstract_state.abstract, batch)


def described(target: Target) -> list[Any]:
    """Return the devices of a target, for which JAX compiles."""
    return list(_topology(target).devices)


def _topology(target: Target) -> Any:
    """Return the description of devices that JAX compiles for."""
    from jax.experimental import topologies

    if target.platform == "tpu":
        return topologies.get_topology_desc(target.topology, "tpu")
    return topologies.get_topology_desc("", target.platform, target_config=target.config, topology=target.topology)


def main() -> int:
    """Read a question from stdin, and compile."""
    import jax

    question = json.load(sys.stdin)
    if question["target"]:
        devices = described(Target(**question["target"]))
    else:
        jax.config.update("jax_num_cpu_devices", question["devices"])
        devices = jax.devices("cpu")
    compile_step(from_json(question["experiment"]), devices, question["layers"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
