"""Descriptions of absent accelerators for XLA's compilers.

For GPUs a description is a `GpuTargetConfigProto` in text form. Its figures were compared on 2026-11-26 with XLA's own
descriptions (openxla/xla, `xla/backends/gpu/target_config/specs/`: `h100_sxm.txtpb` as of commit 0774019d,
`a100_sxm_80.txtpb` and `h200.txtpb` of 4336d12e, `b200.txtpb` of 300ec95a), and equal them except for versions, and for
name and memory of the H200. According to the README of an older folder of theirs (`xla/tools/hlo_opt/gpu_specs/`,
39f8e9f3), XLA writes such files on a device. The bandwidth is twice the memory clock times the bus width, both as CUDA
reports them (`xla/stream_executor/cuda/cuda_executor.cc`, 01c6a9c2). The H200's file seems to be written by hand: its
memory is exactly 141 GiB, more than a device reports, and its bandwidth is the data sheet's and does not follow from
its clock. Limits of a compute capability are also those of NVIDIA's CCCL
(`libcudacxx/include/cuda/__device/arch_traits.h`, 004ad198). Links, and the speed of the units per element type, which
XLA's newer files have too, are left out.

Programs compiled for such a description never run, so the figures need not be those of a certain card. They decide what
XLA fuses and how, and so the bytes that a program needs. For the B200 only one recipe was compiled so far, VideoMAE.
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
    """The properties of an NVIDIA GPU that XLA needs.

    Attributes:
      kind: name in CUDA.
      capability: compute capability, major and minor.
      multiprocessors: multiprocessors on the chip.
      fp32: float32 units per multiprocessor.
      clock: boost clock in GHz.
      bandwidth: memory bandwidth in bytes per second.
      cache: L2 cache in bytes.
      shared: shared memory of a multiprocessor in bytes.
      shared_block: shared memory that one block may use, in bytes.
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
"""GPUs by the names of `DEVICES`."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
      title: name for messages.
      platform: JAX's platform, `cuda` or `tpu`.
      topology: arrangement of the devices in the compiler's notation.
      config: description of one GPU; empty for TPUs, which the compiler knows.
    """

    title: str
    platform: str
    topology: str
    config: str = ""


def target(device: Device, devices: int) -> Target | None:
    """Return the target for a number of devices; None if their compiler is not installed or doesn't know them.

    Raises:
      ValueError: a number of TPU chips that is no slice of known shape.
    """
    if device.dimensions:
        return Target(device.title, "tpu", torus(device, devices)) if importlib.util.find_spec("libtpu") else None
    if device.name not in GPUS or not any(map(_there, PLUGINS)):
        return None
    # Partitions x hosts x devices per host, all hosts alike. Example: 16 GPUs with 8 per host are 1x2x8; 12 are 1x3x4.
    own = math.gcd(devices, device.host)
    return Target(device.title, "cuda", f"1x{devices // own}x{own}", gpu_config(device))


def gpu_config(device: Device) -> str:
    """Return the description of a GPU of `GPUS`, in the text form of protocol buffers."""
    gpu = GPUS[device.name]
    major, minor = gpu.capability
    # Enables instructions that only this architecture has, such as Hopper's warp-group products.
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
