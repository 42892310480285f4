"""Huge pages, and memory that is kept, for a step on a CPU; a process can only be given them at its start.

XLA on a CPU takes and gives back large buffers at every step. In pages of 4 KiB each costs the kernel a fault to take,
and every page is zeroed anew. glibc asks for huge pages (2 MiB) and keeps what was given back where `GLIBC_TUNABLES`
says so when a process begins, so the command line begins anew once, in the same process and before anything else: its
number, its open files and who waits for it stay, and it costs some 20 ms. Figures: `experiments/benchmarks/cpu.md`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

VERBS = ("train", "eval", "predict")
"""The verbs that run a model; all others are over before it would pay."""

SWITCH = "MMVIDEO_HUGE_PAGES"
"""The variable that turns it off with `0`; `given` marks a process that has begun anew."""

TUNABLES = "GLIBC_TUNABLES"

HUGE = {"glibc.malloc.hugetlb": "1"}
"""Huge pages where the kernel leaves them to those who ask."""

KEPT = {"glibc.malloc.arena_max": "1", "glibc.malloc.mmap_max": "0", "glibc.malloc.trim_threshold": str(2**36)}
"""Memory stays with the process, up to 64 GiB, and all threads take theirs from the same heap: from heaps of their own,
which are small, large buffers would still go back to the kernel."""

ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/accel0", "/dev/vfio/0")
"""Where there is one of these, steps don't run on the CPU, and what its memory keeps is of no use to them."""

FIRST_GLIBC = (2, 35)
"""The first release of glibc that knows all of these."""


def begin_with_huge_pages(arguments: Sequence[str]) -> None:
    """Begin this process anew with huge pages, where that is worth it; else return, and nothing has changed.

    Must come before any work: nothing in memory outlives it.

    Args:
      arguments: of the command line, the verb first.
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
    # By its full name: a virtual environment is found by the name under which Python was called.
    command = [sys.executable, *sys.orig_argv[1:]]
    try:
        os.execve(sys.executable, command, environment)
    except OSError:  # What runs now can run on.
        return


def environment_with_huge_pages(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the variables of a process with huge pages; None where they are not wanted, or it has them.

    What `GLIBC_TUNABLES` holds already stays, and what it lacks is put behind: on a machine with a GPU,
    `glibc.malloc.check=3` becomes `glibc.malloc.check=3:glibc.malloc.hugetlb=1`.
    """
    if environment.get(SWITCH, "").lower() in ("0", "off", "false", "no", "given"):
        return None
    given = [tunable for tunable in environment.get(TUNABLES, "").split(":") if tunable]
    known = {tunable.split("=")[0] for tunable in given}
    wanted = HUGE | KEPT if _runs_on_cpu(environment) else HUGE
    added = [f"{name}={value}" for name, value in wanted.items() if name not in known]
    return {**environment, TUNABLES: ":".join(given + added), SWITCH: "given"} if added else None


def _runs_on_cpu(environment: Mapping[str, str]) -> bool:
    """Return whether JAX has nothing but the CPU, as far as that can be said without it."""
    asked = environment.get("JAX_PLATFORMS", "")
    return asked == "cpu" if asked else not any(Path(device).exists() for device in ACCELERATORS)


def _has_tunables() -> bool:
    """Return whether the C library knows the tunables."""
    if sys.platform != "linux":
        return False
    try:
        name, version = os.confstr("CS_GNU_LIBC_VERSION").split()  # "glibc 2.36"
        numbers = tuple(int(number) for number in version.split(".")[:2])
    except (AttributeError, OSError, ValueError):  # Another C library, such as musl.
        return False
    return name == "glibc" and numbers >= FIRST_GLIBC
