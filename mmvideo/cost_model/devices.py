"""The accelerators that a launch is planned for; names of TPU slices.

Every figure was compared with a source on 2026-11-26; beside a device it says which. FLOPs and links are its maker's;
NVIDIA's sheets were read as others quote them. The memory of a GPU is what CUDA reports of one, which may be less or
more than the data sheet's round number, and differs by a few tenths of a per cent between drivers.
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
      name: as `mmvideo plan --device` takes it.
      title: its full name.
      memory: bytes, all of them.
      flops: dense bfloat16 FLOPs a second.
      link: bytes a second that it can send its neighbours while it receives as many: half of what both ways make.
      host: how many share a host.
      dimensions: of the torus that a slice of them is; 0 is no TPU.
      cores: what a slice's name counts for each: TensorCores, or chips themselves.
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
        # NVIDIA H200 data sheet, SXM: products and links as H100's. Memory: PyTorch's messages tell of 139.80 or 139.81
        # GiB (as in issue 9191 of modelscope/ms-swift); the data sheet has 141 GB, and XLA's description 141 GiB.
        Device("h200", "NVIDIA H200 SXM", round(139.8 * GIB), 989.4e12, 450e9, 8),
        # NVIDIA A100 80GB data sheet, SXM: 312 TFLOPS, NVLink 600 GB/s both ways.
        Device("a100", "NVIDIA A100 SXM 80GB", 85_100_068_864, 312e12, 300e9, 8),
        # NVIDIA HGX B200 data sheet: 36 PFLOPS of eight with sparsity, which doubles them; NVLink 1.8 TB/s each.
        Device("b200", "NVIDIA B200 (HGX)", 191_514_411_008, 2250e12, 900e9, 8),
        # Google Cloud TPU documentation, a page for each version; figures of a chip. It writes GB or GiB for the same
        # memory: its table of versions (page "TPU7x") has v5p and v6e in GiB, and JAX 0.10.2 reckons v5e's and v6e's as
        # 16 and 32 GiB too (`jax/_src/pallas/mosaic/tpu_info.py`). XLA's compiler fills 30.75 GiB (v4), 15.75 (v5e),
        # 95.74 (v5p) and 31.25 (v6e) of them, by its messages about programs that are too large.
        # v4: 32 GiB, 275 TFLOPs; its links are not told there: 6 of 50 GB/s a way (Jouppi et al. 2023, table 4, as
        # others quote it).
        Device("v4", "TPU v4", 32 * GIB, 275e12, 300e9, 4, dimensions=3, cores=2),
        # v5e: 16 GB, 197 TFLOPs, links 400 GB/s both ways, 8 a host.
        Device("v5e", "TPU v5e", 16 * GIB, 197e12, 200e9, 8, dimensions=2),
        # v5p: 95 GiB, 459 TFLOPs, links 1,200 GB/s both ways, 4 a host.
        Device("v5p", "TPU v5p", 95 * GIB, 459e12, 600e9, 4, dimensions=3, cores=2),
        # v6e (Trillium): 32 GB, 918 TFLOPs, links 800 GB/s both ways, 8 a host.
        Device("v6e", "TPU v6e", 32 * GIB, 918e12, 400e9, 8, dimensions=2),
    )
}
"""By name."""

KINDS = {"H100": "h100", "H200": "h200", "A100": "a100", "B200": "b200"} | {
    "TPU v4": "v4",
    "TPU v5 lite": "v5e",
    "TPU v5e": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
}
"""By what JAX says of a device: all of it for TPUs, a word of it for GPUs."""

USABLE = 0.9
"""Share of a device's memory that a plan fills.

An assumption: the rest is the driver's and the collectives' buffers, and what fragmentation loses. JAX takes 0.75 of a
GPU's memory by itself; `XLA_PYTHON_CLIENT_MEM_FRACTION=0.9` gives it this much.
"""


def device_named(text: str) -> tuple[Device, int | None]:
    """The device of a name such as `h100`, and how many a slice such as `v5p-128` has; None for a plain name.

    A slice of v4 or v5p is named by its TensorCores, of which a chip has two; one of v5e (`v5litepod-16` too) or v6e
    by its chips.

    Raises:
      ValueError: a name that isn't known.
    """
    name, count = re.fullmatch(r"(.*?)(?:-(\d+))?", text.lower().replace("v5litepod", "v5e")).groups()
    device = DEVICES.get(name)
    if device is None or (count and not device.dimensions):
        raise ValueError(
            f"--device {text!r} is not known: take one of {', '.join(DEVICES)}, or a TPU slice such as v5p-128; how "
            "many GPUs there are is said by --devices"
        )
    if count is None:
        return device, None
    chips, rest = divmod(int(count), device.cores)
    if rest or not chips:
        raise ValueError(f"--device {text!r}: a slice of {device.title} counts TensorCores, {device.cores} a chip")
    return device, chips


def device_of_kind(kind: str) -> Device | None:
    """The device that JAX calls so, such as `NVIDIA H100 80GB HBM3`.

    None for one that isn't known, such as a CPU, or that is slower: a GPU on a card of another form, or a part of one
    (MIG).
    """
    words = re.split(r"[ -]", kind)
    if {"PCIE", "NVL", "MIG"} & set(map(str.upper, words)):
        return None
    name = KINDS.get(kind) or next((KINDS[word] for word in words if word in KINDS), None)
    return None if name is None else DEVICES[name]


def torus(device: Device, chips: int) -> str:
    """The shape of a slice of a power of two of TPU chips, as its compiler names it, such as `v5p:4x4x4`.

    Raises:
      ValueError: another number.
    """
    power = chips.bit_length() - 1
    if chips != 2**power:
        raise ValueError(f"{chips} chips of {device.title} are not a slice whose shape is known: take a power of two")
    sides = [2 ** ((power + axis) // device.dimensions) for axis in range(device.dimensions)]
    # Four chips are one board, which is flat.
    sides = [2, 2, 1] if chips == 4 and device.dimensions == 3 else sides
    assert math.prod(sides) == chips
    return f"{device.name}:{'x'.join(map(str, sides))}"
