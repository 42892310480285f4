"""Accelerators that are not there, described as XLA's compilers ask for them.

For GPUs that is a `GpuTargetConfigProto` in text form. Its figures were compared on 2026-11-26 with the descriptions
that XLA keeps itself (openxla/xla, `xla/backends/gpu/target_config/specs/`: `h100_sxm.txtpb` as of commit 0774019d,
`a100_sxm_80.txtpb` and `h200.txtpb` of 4336d12e, `b200.txtpb` of 300ec95a), and are theirs but for versions, and for
name and memory of the H200. By the README of an older folder of theirs (`xla/tools/hlo_opt/gpu_specs/`, 39f8e9f3) such
files are what XLA has found on a device. The bandwidth is twice the clock of the memory times the width of the bus,
both as CUDA reports them (`xla/stream_executor/cuda/cuda_executor.cc`, 01c6a9c2). The H200's file seems to be written
by hand: its memory is 141 GiB to the byte, more than a device reports, and its bandwidth is the data sheet's and
doesn't follow from the clock that it gives. Limits that come with a compute capability are also those of NVIDIA's CCCL
(`libcudacxx/include/cuda/__device/arch_traits.h`, 004ad198). Links, and how fast the units are for each type of number,
which the newer of XLA's files tell too, are left out.

What is compiled from it is never run, so that none of the figures need be those of a certain card; they decide what XLA
fuses and how, and so how many bytes a program takes. For the B200 one recipe was compiled yet, VideoMAE.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math

from mmvideo.cost_model.devices import Device, torus

PLUGINS = ("jax_plugins.xla_cuda13", "jax_plugins.xla_cuda12")
"""Modules of JAX's plugin for NVIDIA GPUs, which holds XLA's compiler for them; it needs no driver."""


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What XLA asks of an NVIDIA GPU.

    Attributes:
      kind: the name that CUDA gives it.
      capability: compute capability, major and minor.
      multiprocessors: on the chip.
      fp32: units for float32 in each of them.
      clock: boost, in GHz.
      bandwidth: of its memory, in bytes a second.
      cache: of second level, in bytes.
      shared: memory of a multiprocessor, in bytes.
      shared_block: of which one block may ask for.
    """

    kind: str
    capability: tuple[int, int]
    multiprocessors: int
    fp32: int
    clock: float
    bandwidth: float
    cache: int
    shared: int
    shared_block: int


_HOPPER = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 128, 1.98, 3.35232e12, 50 * 2**20, 228 * 2**10, 227 * 2**10)

GPUS = {
    "h100": _HOPPER,
    "h200": dataclasses.replace(_HOPPER, kind="NVIDIA H200", bandwidth=4.8e12),
    "a100": Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 108, 64, 1.41, 2.03904e12, 40 * 2**20, 164 * 2**10, 163 * 2**10),
    "b200": Gpu("NVIDIA B200", (10, 0), 148, 128, 1.965, 7.67232e12, 132_644_864, 228 * 2**10, 227 * 2**10),
}
"""By the names of `DEVICES`."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
      title: what they are called.
      platform: of JAX, `cuda` or `tpu`.
      topology: how they are put together, by the compiler's own way of writing.
      config: the description of one, of a GPU; empty for TPUs, which the compiler knows.
    """

    title: str
    platform: str
    topology: str
    config: str = ""


def target(device: Device, devices: int) -> Target | None:
    """What to compile for so many devices; None where their compiler is not installed, or doesn't know such devices.

    Raises:
      ValueError: so many TPU chips are no slice whose shape is known.
    """
    if device.dimensions:
        return Target(device.title, "tpu", torus(device, devices)) if importlib.util.find_spec("libtpu") else None
    if device.name not in GPUS or not any(map(_there, PLUGINS)):
        return None
    # Partitions, hosts in each, devices in each; all hosts alike.
    own = math.gcd(devices, device.host)
    return Target(device.title, "cuda", f"1x{devices // own}x{own}", gpu_config(device))


def gpu_config(device: Device) -> str:
    """The description of a GPU of `GPUS`, in the text form of protocol buffers."""
    gpu = GPUS[device.name]
    major, minor = gpu.capability
    # Instructions that only this architecture has, such as Hopper's products of whole warp groups.
    own = " feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
    return f"""
platform_name: "CUDA"
device_description_str: "{gpu.kind}"
dnn_version_info {{ major: 9 minor: 10 }}
gpu_device_info {{
  name: "{gpu.kind}"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: {major} minor: {minor}{own} }}
  core_count: {gpu.multiprocessors}
  fpus_per_core: {gpu.fp32}
  clock_rate_ghz: {gpu.clock}
  device_memory_size: {device.memory}
  memory_bandwidth: {gpu.bandwidth:.0f}
  l2_cache_size: {gpu.cache}
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block_optin: {gpu.shared_block}
  shared_memory_per_block: {48 * 2**10}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  block_dim_limit_x: {2**31 - 1}
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  device_address_bits: 64
  driver_version: "13.0.0"
  runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.10.0"
}}
"""


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
