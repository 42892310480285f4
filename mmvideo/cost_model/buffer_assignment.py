"""The memory of a program on a device, read from the buffer assignment that XLA writes.

With `--xla_dump_to=FOLDER` XLA writes each file as soon as it is complete. Buffers are assigned before machine code is
generated, which takes minutes for a TPU: if only the bytes are needed, the rest need not finish.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

DUMPING = "--xla_dump_to={} --xla_dump_hlo_as_text=true"
"""Value for `XLA_FLAGS`, with the folder to write to."""

MAIN = {"tpu": (0,), "cuda": (0, 1), "cpu": (0,)}
"""XLA's memory spaces ("colors") that are in the main memory of a device, by platform.

On GPUs, 1 is memory that collectives read; on TPUs, 1 is a memory of the core. On both, 5 is host memory.
"""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Bytes of a program in the main memory of one device.

    Attributes:
      arguments: bytes of the arguments, including results that reuse their memory.
      scratch: bytes of everything else: temporaries, other results, constants.
      text: optimised HLO of the program at the time of buffer assignment.
    """

    arguments: int
    scratch: int
    text: str


def find_assignment(folder: str | Path, module: str, platform: str) -> Assignment | None:
    """Read the files of one module; return None until they are all there.

    Args:
      folder: the folder that XLA writes to.
      module: name of the module, such as `jit_step`.
      platform: one of `MAIN`.
    """
    # The report is written last.
    for report in Path(folder).glob(f"*.{module}.*after_optimizations-memory-usage-report.txt"):
        if report.stat().st_size:
            name = str(report).removesuffix("-memory-usage-report.txt")
            arguments, scratch = read_assignment(Path(f"{name}-buffer-assignment.txt").read_text(), platform)
            return Assignment(arguments, scratch, Path(f"{name}.txt").read_text())
    return None


def read_assignment(text: str, platform: str) -> tuple[int, int]:
    """Return the bytes of a program's arguments and of its other allocations, in the main memory of a device.

    Args:
      text: content of a file `…-buffer-assignment.txt`.
      platform: one of `MAIN`.
    """
    # A line looks like "allocation 3: size 4096, color 1, preallocated-temp:"; arguments have "parameter 0, …" instead.
    arguments = scratch = 0
    for size, about in re.findall(r"^allocation \d+: size (\d+), (.*):$", text, re.MULTILINE):
        color = re.match(r"color (\d+)", about)
        if "thread-local" in about or (color and int(color[1]) not in MAIN[platform]):
            continue
        if re.search(r"\bparameter \d+", about):
            arguments += int(size)
        else:
            scratch += int(size)
    return arguments, scratch
