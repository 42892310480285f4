"""The accelerators that a launch can be planned for, and the names of TPU slices.

Every figure was compared with a source on 2026-11-26; a comment at each device names it. FLOPs and links are the
maker's; NVIDIA's data sheets were read as quoted by others. The memory of a GPU is the value that CUDA reports, which
differs from the data sheet's round number and, by a few tenths of a per cent, between drivers.
"""

from __future__ import annotations

import dataclasses
import math
import re

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Device:
    """An accelerator.

    Attributes:
      name: name for `mmvideo plan --device`.
      title: full name.
      memory: total memory in bytes.
      flops: dense bfloat16 FLOPs per second.
      link: bytes per second that it can send to its neighbours while it receives as many: half of the figure for both
        directions.
      host: devices per host.
      dimensions: dimensions of the torus of a slice; 0: no TPU.
      cores: TensorCores per chip, if slice names count these; 1 if they count chips.
    """

    name: str
    title: str
    memory: int
    flops: float
    link: float
    host: int
    dimensions: int = 0
    cores: int = 1


DEVICES = {
    device.name: device
    for device in (
        # Memory of H100, A100 and B200: XLA's descriptions of them, `cost_model/compile_targets.py`.
        # NVIDIA H100 white paper and data sheet, SXM5: 989.4 TFLOPS without sparsity, NVLink 900 GB/s both ways.
        Device("h100", "NVIDIA H100 SXM", 84_942_979_072, 989.4e12, 450e9, 8),
        # NVIDIA H200 data sheet, SXM: products and links as H100's. Memory: PyTorch's messages say 139.80 or 139.81 GiB
        # (as in issue 9191 of modelscope/ms-swift); the data sheet says 141 GB, and XLA's description 141 GiB.
        Device("h200", "NVIDIA H200 SXM", round(139.8 * GIB), 989.4e12, 450e9, 8),
        # NVIDIA A100 80GB data sheet, SXM: 312 TFLOPS, NVLink 600 GB/s both ways.
        Device("a100", "NVIDIA A100 SXM 80GB", 85_100_068_864, 312e12, 300e9, 8),
        # NVIDIA HGX B200 data sheet: 36 PFLOPS of eight with sparsity, which doubles them; NVLink 1.8 TB/s each.
        Device("b200", "NVIDIA B200 (HGX)", 191_514_411_008, 2250e12, 900e9, 8),
        # Google Cloud TPU documentation, one page per version; figures are per chip. It writes GB or GiB for the same
        # memory: its table of versions (page "TPU7x") has v5p and v6e in GiB, and JAX 0.10.2 has 16 and 32 GiB for v5e
        # and v6e too (`jax/_src/pallas/mosaic/tpu_info.py`). XLA's compiler uses at most 30.75 GiB (v4), 15.75 (v5e),
        # 95.74 (v5p) and 31.25 (v6e), according to its messages about programs that are too large.
        # v4: 32 GiB, 275 TFLOPs. The links are not documented there: 6 of 50 GB/s per direction (Jouppi et al. 2023,
        # table 4, as quoted by others).
        Device("v4", "TPU v4", 32 * GIB, 275e12, 300e9, 4, dimensions=3, cores=2),
        # v5e: 16 GB, 197 TFLOPs, links 400 GB/s both ways, 8 per host.
        Device("v5e", "TPU v5e", 16 * GIB, 197e12, 200e9, 8, dimensions=2),
        # v5p: 95 GiB, 459 TFLOPs, links 1,200 GB/s both ways, 4 per host.
        Device("v5p", "TPU v5p", 95 * GIB, 459e12, 600e9, 4, dimensions=3, cores=2),
        # v6e (Trillium): 32 GB, 918 TFLOPs, links 800 GB/s both ways, 8 per host.
        Device("v6e", "TPU v6e", 32 * GIB, 918e12, 400e9, 8, dimensions=2),
    )
}
"""Devices by name."""

KINDS = {"H100": "h100", "H200": "h200", "A100": "a100", "B200": "b200"} | {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
}
"""Names of devices by JAX's `device_kind`: the whole string for TPUs, one word of it for GPUs."""

USABLE = 0.9
"""Share of a device's memory that a plan uses.

This is an assumption: the rest is for the buffers of the driver and the collectives, and for fragmentation. By default
JAX uses 0.75 of a GPU's memory; `XLA_PYTHON_CLIENT_MEM_FRACTION=0.9` gives it this much.
"""


def device_named(text: str) -> tuple[Device, int | None]:
    """Return the device of a name such as `h100`, and the chips of a slice such as `v5p-128`; None for a plain name.

    The name of a v4 or v5p slice counts TensorCores, of which a chip has two. That of a v5e (also `v5litepod-16`) or
    v6e slice counts chips.

    Raises:
      ValueError: an unknown name.
    """
    name, count = re.fullmatch(r"(.*?)(?:-(\d+))?", text.lower().replace("v5litepod", "v5e")).groups()
    device = DEVICES.get(name)
    if device is None or (count and not device.dimensions):
        raise ValueError(
            f"--device {text!r} is not known: take one of {', '.join(DEVICES)}, or a TPU slice such as v5p-128; "
            "--devices gives the number of GPUs"
        )
    if count is None:
        return device, None
    # Example: v5p-128 is 128 TensorCores, 64 chips.
    chips, rest = divmod(int(count), device.cores)
    if rest or not chips:
        raise ValueError(f"--device {text!r}: a slice of {device.title} counts TensorCores, {device.cores} per chip")
    return device, chips


def device_of_kind(kind: str) -> Device | None:
    """Return the device with JAX's `device_kind`, such as `NVIDIA H100 80GB HBM3`.

    None for an unknown one, such as a CPU, and for a slower variant: a GPU on another form of card, or a part of one
    (MIG).
    """
    words = re.split(r"[ -]", kind)
    if {"PCIE", "NVL", "MIG"} & set(map(str.upper, words)):
        return None
    name = KINDS.get(kind) or next((KINDS[word] for word in words if word in KINDS), None)
    return None if name is None else DEVICES[name]


def torus(device: Device, chips: int) -> str:
    """Return the shape of a slice of TPU chips in the compiler's notation, such as `v5p:4x4x4`.

    Raises:
      ValueError: the number of chips is not a power of two.
    """
    power = chips.bit_length() - 1
    if chips != 2**power:
        raise ValueError(f"{chips} chips of {device.title} are no slice of known shape: use a power of two")
    # Example in three dimensions: 64 = 2^6 chips are 4 x 4 x 4, 128 = 2^7 are 4 x 4 x 8.
    sides = [2 ** ((power + axis) // device.dimensions) for axis in range(device.dimensions)]
    # Four chips are one board, which is flat: 2 x 2 x 1 rather than 1 x 2 x 2.
    sides = [2, 2, 1] if chips == 4 and device.dimensions == 3 else sides
    assert math.prod(sides) == chips
    return f"{device.name}:{'x'.join(map(str, sides))}"
