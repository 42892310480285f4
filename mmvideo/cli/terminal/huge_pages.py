"""Huge pages and retained memory for steps on a CPU, which a process can only request at its start.

XLA on a CPU allocates and frees large buffers at every step. With pages of 4 KiB each allocation costs the kernel a
page fault per page, and every page is zeroed again. glibc requests huge pages (2 MiB) and retains freed memory if
`GLIBC_TUNABLES` says so when a process starts. So the command line restarts itself once, in the same process and before
anything else: process id, open files and parent stay the same, and it costs some 20 ms. Figures:
`experiments/benchmarks/cpu.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

VERBS = ("train", "eval", "predict")
"""Verbs that run a model; the others end before a restart would pay off."""

SWITCH = "MMVIDEO_HUGE_PAGES"
"""Environment variable: `0` turns this off, and `given` marks a process that has restarted."""

TUNABLES = "GLIBC_TUNABLES"

HUGE = {"glibc.malloc.hugetlb": "1"}
"""Huge pages, where the kernel gives them to programs that request them."""

KEPT = {"glibc.malloc.arena_max": "1", "glibc.malloc.mmap_max": "0", "glibc.malloc.trim_threshold": str(2**36)}
"""Memory stays with the process, up to 64 GiB, and all threads allocate from one heap: the heaps of single threads are
small, and would return large buffers to the kernel.
"""

ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0", "/dev/vfio/0")
"""Device files of accelerators: with one of them steps do not run on the CPU, and retained memory is of no use."""

FIRST_GLIBC = (2, 35)
"""First release of glibc with all of these tunables."""


def begin_with_huge_pages(arguments: Sequence[str]) -> None:
    """Restart this process with huge pages if that is worth it; else return without any change.

    Call it before any work: nothing in memory survives the restart.

    Args:
      arguments: arguments of the command line, the verb first.
    """
    if not arguments or arguments[0] not in VERBS or {"-h", "--help"} & set(arguments):
        return
    if "jax" in sys.modules or not sys.executable or not _has_tunables():
        return
    environment = environment_with_huge_pages(os.environ)
    if environment is None:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # By its full path: Python finds its virtual environment by the path with which it was called.
    command = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, command, environment)
    except OSError:  # The present process works as well, only slower.
        return


def environment_with_huge_pages(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the environment of a process with huge pages; None if they are turned off or already there.

    Existing tunables are kept, and missing ones appended: on a machine with a GPU, `glibc.malloc.check=3` becomes
    `glibc.malloc.check=3:glibc.malloc.hugetlb=1`.
    """
    if environment.get(SWITCH, "").lower() in ("0", "off", "false", "no", "given"):
        return None
    given = [tunable for tunable in environment.get(TUNABLES, "").split(":") if tunable]
    known = {tunable.split("=")[0] for tunable in given}
    wanted = HUGE | KEPT if _runs_on_cpu(environment) else HUGE
    added = [f"{name}={value}" for name, value in wanted.items() if name not in known]
    return {**environment, TUNABLES: ":".join(given + added), SWITCH: "given"} if added else None


def _runs_on_cpu(environment: Mapping[str, str]) -> bool:
    """Return True if JAX has only the CPU, as far as that is known without importing it."""
    asked = environment.get("JAX_PLATFORMS", "")
    return asked == "cpu" if asked else not any(Path(device).exists() for device in ACCELERATORS)


def _has_tunables() -> bool:
    """Return True if the C library knows the tunables."""
    if sys.platform != "linux":
        return False
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # "glibc 2.36"
        numbers = tuple(int(number) for number in version.split(".")[:2])
    except (AttributeError, OSError, ValueError):  # Another C library, such as musl.
        return False
    return name == "glibc" and numbers >= FIRST_GLIBC
