"""The memory of a program in XLA's dump files, against XLA's own memory analysis."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from mmvideo.cost_model.buffer_assignment import DUMPING, find_assignment, read_assignment

PROGRAM = """
import jax, jax.numpy as jnp, json
def step(weights, batch):
    loss, slope = jax.value_and_grad(lambda weights: jnp.mean(jnp.tanh(batch @ weights) ** 2))(weights)
    return weights - slope, loss
told = jax.jit(step, donate_argnums=0).lower(jnp.zeros((512, 256)), jnp.zeros((1024, 512))).compile().memory_analysis()
names = ("argument", "temp", "output", "alias")
print(json.dumps([getattr(told, f"{name}_size_in_bytes") for name in names]))
"""

WRITTEN = """BufferAssignment:
allocation 0: size 4096, parameter 3, shape |f32[1024]| at ShapeIndex {}, maybe-live-out:
 value: <1 param.3 @0> (size=4096,offset=0): f32[1024]{0}
allocation 1: size 100, parameter 0, shape |f32[25]| at ShapeIndex {}:
allocation 2: size 64, output shape is |(f32[], f32[1024])|, maybe-live-out:
allocation 3: size 1, thread-local:
allocation 4: size 32, color 1, preallocated-temp:
allocation 5: size 8000, color 5, parameter 4, shape |f32[2000]| at ShapeIndex {}:
allocation 6: size 4, constant:
allocation 7: size 1000, preallocated-temp:
 value: <9 fusion @0> (size=1000,offset=0): f32[250]{0}
"""


def test_only_what_lies_in_the_devices_own_memory_counts():
    assert read_assignment(WRITTEN, "cuda") == (4196, 64 + 32 + 4 + 1000)
    # There the second memory is one of the core's.
    assert read_assignment(WRITTEN, "tpu") == (4196, 64 + 4 + 1000)


def test_the_files_say_what_the_compiler_says(tmp_path):
    assert find_assignment(tmp_path, "jit_step", "cpu") is None
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": DUMPING.format(tmp_path), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=os.environ | flags, capture_output=True, check=True)
    arguments, scratch, results, replaced = json.loads(done.stdout)
    found = find_assignment(tmp_path, "jit_step", "cpu")
    constants = found.scratch - (scratch + results - replaced)
    assert found.arguments == arguments and 0 <= constants <= 8
    assert "ENTRY" in found.text
