"""A recipe's training step compiled for devices that are not there, and what XLA says of it.

    python -m mmvideo.experiment.compiled < question.json > answer.json

It is a process of its own, since how many devices a platform pretends to have must be said before JAX starts. Compiling
allocates nothing, so that shapes may be those of a cluster. The accelerator's own compiler is asked where it is
installed, which needs no accelerator: JAX's CUDA plugin for GPUs (`pip install "mmvideo[cuda]"`), libtpu for TPUs.
Everything else is compiled for as many CPU devices. Those compute bfloat16 in float32 and fuse less, so that XLA
counts more bytes for a step's work there than an accelerator needs; arguments are the same to the byte, and
collectives the same but for how they are merged.

Which fused attention there will be is not known without the device. Its place is taken by attention in blocks of
`plan.BLOCK` keys, which is linear in memory as fused kernels are. Compiled so, the two steps of
`experiments/benchmarks/` whose program is still the same take 1.8 % (B) and 0.8 % (L) more than with tokamax's
kernels on the H100 itself.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from typing import Any

from mmvideo.experiment.config import Experiment, from_json, to_json
from mmvideo.parallel.mesh import AXES, axis_sizes
from mmvideo.planning.collectives import Collective, read_collectives
from mmvideo.planning.targets import Target

LIGHT = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
"""What comes behind the assignment of buffers only takes time, for nothing is run."""

UNTRIED = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
"""For GPUs: kernels can't be tried out against each other where there is no GPU. Products go to cuBLAS, since XLA's own
kernels for them fail to compile where the first choice of tiles doesn't fit and no other may be tried."""

OPTIONS = {"cpu": LIGHT, "gpu": LIGHT | UNTRIED}
"""For the compiler, by platform."""


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What XLA says of a step on one device.

    Attributes:
      platform: that it was compiled for.
      arguments: bytes of state and batch.
      scratch: bytes that the program allocates beside them; the new state takes the place of the old.
      peak: bytes that are alive at once, arguments included, without the gaps between them that `scratch` counts;
        None where the platform doesn't tell.
      collectives: what devices send each other.
      seconds: of compilation.
    """

    platform: str
    arguments: int
    scratch: int
    peak: int | None
    collectives: tuple[Collective, ...]
    seconds: float

    @property
    def total(self) -> int:
        """Bytes that the step takes."""
        return self.arguments + self.scratch


def ask_compiler(experiment: Experiment, devices: int, target: Target | None = None) -> Compiled:
    """Compiles a step of an experiment in a process of its own.

    Args:
      experiment: the settings; its mesh and rows are those of `devices`.
      devices: how many.
      target: what to compile for; None: as many CPU devices.

    Raises:
      ValueError: the program does not compile; the last line of what the compiler said.
    """
    asked = None if target is None else dataclasses.asdict(target)
    question = {"experiment": to_json(experiment), "devices": devices, "target": asked}
    quiet = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}
    done = subprocess.run(
        [sys.executable, "-m", "mmvideo.experiment.compiled"],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        env=os.environ | quiet,
        check=False,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("#")]
        last = said[-1] if said else f"exit code {done.returncode}"
        told = next(
            (line for line in said if re.match(r"ValueError|.*(RESOURCE_EXHAUSTED|JaxRuntimeError)", line)), last
        )
        raise ValueError(f"the step did not compile for {devices} devices: {told[:400]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    answer["collectives"] = tuple(Collective(**each) for each in answer["collectives"])
    return Compiled(**answer)


def compile_step(experiment: Experiment, devices: list[Any]) -> Compiled:
    """Compiles a step for these devices, which may be descriptions of some."""
    import jax
    import numpy as np
    from jax.sharding import AxisType, Mesh

    from mmvideo.experiment.making import make_learner
    from mmvideo.experiment.outline import abstract_stream
    from mmvideo.experiment.plan import rehearsed, sketched
    from mmvideo.parallel.rules import batch_sharding
    from mmvideo.training.state import draw_up
    from mmvideo.training.step import make_step

    sketch, shape, model = sketched(experiment), axis_sizes(experiment.mesh, len(devices)), rehearsed(experiment.model)
    mesh = Mesh(np.array(devices).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    blueprint = draw_up(lambda rngs: make_learner(experiment, sketch.spec, rngs, model), experiment.training, mesh)
    rows = batch_sharding(mesh)
    batch = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows),
        abstract_stream(sketch.shape, experiment.input.packing.rows),
    )
    places = jax.tree.map(lambda leaf: leaf.sharding, blueprint.abstract)
    began, platform = time.perf_counter(), devices[0].platform
    with jax.set_mesh(mesh):
        lowered = make_step(blueprint.graphdef, experiment.training, places).lower(blueprint.abstract, batch)
        program = lowered.compile(OPTIONS.get(platform))
    memory = program.memory_analysis()
    return Compiled(
        platform=f"{len(devices)} x {devices[0].device_kind}",
        arguments=memory.argument_size_in_bytes,
        scratch=memory.temp_size_in_bytes,
        # The compiler for CPUs fills this in with something else.
        peak=None if platform == "cpu" else memory.peak_memory_in_bytes,
        collectives=read_collectives(program.as_text()),
        seconds=time.perf_counter() - began,
    )


def _topology(target: Target) -> Any:
    """The description of devices that JAX compiles for."""
    from jax.experimental import topologies

    if target.platform == "tpu":
        return topologies.get_topology_desc(target.topology, "tpu")
    return topologies.get_topology_desc("", target.platform, target_config=target.config, topology=target.topology)


def main() -> int:
    """Reads a question and prints the answer."""
    import jax

    question = json.load(sys.stdin)
    if question["target"]:
        devices = list(_topology(Target(**question["target"])).devices)
    else:
        jax.config.update("jax_num_cpu_devices", question["devices"])
        devices = jax.devices("cpu")
    print(json.dumps(dataclasses.asdict(compile_step(from_json(question["experiment"]), devices))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
