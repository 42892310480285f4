"""What a program takes of a device's memory, read from the assignment of buffers that XLA writes down.

With `--xla_dump_to=FOLDER` XLA writes its files as soon as it has them. Which buffer lies where is decided before any
machine code is made, which for a TPU takes minutes: who wants to know the bytes alone need not wait for the rest.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

DUMPING = "--xla_dump_to={} --xla_dump_hlo_as_text=true"
"""For `XLA_FLAGS`: the folder to write to."""

MAIN = {"tpu": (0,), "cuda": (0, 1), "cpu": (0,)}
"""XLA's memory spaces ("colors") that lie in the main memory of a device, by platform: on GPUs 1 is what collectives
read, on TPUs a memory of the core; 5 is the host's on both."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Bytes of a program on one device, in its main memory.

    Attributes:
      arguments: what it is given; where results take the place of arguments, these too.
      scratch: everything else: what it works with, results of their own, constants.
      text: the program as it was when its buffers were assigned, optimised HLO.
    """

    arguments: int
    scratch: int
    text: str


def find_assignment(folder: str | Path, module: str, platform: str) -> Assignment | None:
    """Reads the files of one module; None as long as they are not all there.

    Args:
      folder: where XLA writes.
      module: such as `jit_step`.
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
    """Bytes of a program's arguments and of all else that it allocates, in the main memory of a device.

    Args:
      text: of a file `…-buffer-assignment.txt`.
      platform: one of `MAIN`.
    """
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
