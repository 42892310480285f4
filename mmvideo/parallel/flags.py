"""The XLA flags that the installed jaxlib refuses; XLA ends the process at the first flag that it doesn't know.

Flags come and go between releases. They are therefore tried out, each in a process of its own. The effort that XLA
spends on hiding communication needs no flag: JAX has a setting for it (`enable_latency_hiding`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jax

LEVEL = "O1"
"""The optimization level at which XLA overlaps communication between GPUs with computation (scheduler, pipelining)."""

VARIABLES = {"XLA_FLAGS": "any", "LIBTPU_INIT_ARGS": "tpu"}
"""The environment variables that hold flags, and the devices that read them."""

TRY = "import jax; jax.block_until_ready(jax.numpy.zeros(8) + 1)"
"""A program that reads the flags: they are parsed at the first compilation."""

LONGEST = 180
"""Seconds that a try may take, the search for devices included."""


def enable_latency_hiding() -> None:
    """Set XLA's optimization level to `LEVEL` for later compilations, if several GPUs work together.

    A level that the user set (`JAX_OPTIMIZATION_LEVEL`, or JAX's config) stays. CPUs stay unchanged, and so do TPUs,
    which hide communication by default, and a single GPU, which has none. Call this after the processes have joined.
    """
    given = jax.config.jax_optimization_level != "UNKNOWN"
    if not given and jax.default_backend() == "gpu" and jax.device_count() > 1:
        jax.config.update("jax_optimization_level", LEVEL)


def given_flags(variable: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the flags that a variable holds, or those in the file that it names, as XLA allows.

    Raises:
      OSError: the file can't be read.
    """
    value = (os.environ if environment is None else environment).get(variable, "").strip()
    if value and not value.startswith("-"):
        value = Path(value).read_text(encoding="utf-8")
    return value.split()


def refused_flags(variable: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return those of a variable's flags with which JAX does not start, each tried alone.

    All of them are tried together first, so a correct setting costs only about a second.

    Args:
      variable: one of `VARIABLES`.
      environment: `os.environ` if None.

    Returns:
      The flags as they are written; all of them if each alone is accepted but all together are not.

    Raises:
      ValueError: JAX does not start without the flags either, so they can't be judged; with its last line of output.
      OSError: as for `given_flags`.
    """
    environment = dict(os.environ if environment is None else environment)
    flags = given_flags(variable, environment)
    if not flags or _starts(variable, flags, environment) is None:
        return []
    reason = _starts(variable, [], environment)
    if reason is not None:
        raise ValueError(f"JAX does not start without the flags of {variable} either: {reason}")
    refused = [flag for flag in flags if _starts(variable, [flag], environment) is not None]
    return refused or flags


def _starts(variable: str, flags: list[str], environment: dict[str, str]) -> str | None:
    """Return None if JAX starts with these flags, else the last line of its output."""
    own = {
        variable: " ".join(flags),
        # A try must neither allocate the accelerator's whole memory nor fill the compilation cache.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        # Otherwise the last line of an error would be a note about its traceback.
        "JAX_TRACEBACK_FILTERING": "off",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRY], env=environment | own, capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return f"no device was found in {LONGEST} s"
    if done.returncode == 0:
        return None
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return (said or [f"exit code {done.returncode}"])[-1].strip()[:300]
