"""Which flags of XLA the installed jaxlib refuses: it ends the process at the first one that it doesn't know.

Flags come and go between releases, so they are tried, each try in a process of its own. What JAX itself has a setting
for needs no flag: how hard XLA tries (`enable_latency_hiding`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import jax

LEVEL = "O1"
"""At which XLA hides communication between GPUs behind computation: a scheduler for it, and pipelined collectives."""

VARIABLES = {"XLA_FLAGS": "any", "LIBTPU_INIT_ARGS": "tpu"}
"""The environment variables that hold flags, and which devices must be there for them to be read."""

TRY = "import jax; jax.block_until_ready(jax.numpy.zeros(8) + 1)"
"""What reads the flags: the first thing that is compiled."""

LONGEST = 180
"""Seconds that a try may take, finding the devices included."""


def enable_latency_hiding() -> None:
    """Has XLA do at `LEVEL` what it compiles from here on, where several GPUs work together.

    A level that was given (`JAX_OPTIMIZATION_LEVEL`, or JAX's config) stays, and so do CPUs, TPUs, which have all of
    it by themselves, and a single GPU, which has nothing to hide. Must come after the processes have joined.
    """
    given = jax.config.jax_optimization_level != "UNKNOWN"
    if not given and jax.default_backend() == "gpu" and jax.device_count() > 1:
        jax.config.update("jax_optimization_level", LEVEL)


def given_flags(variable: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """The flags that a variable holds, or that stand in the file that it names, as XLA allows.

    Raises:
      OSError: the file can't be read.
    """
    value = (os.environ if environment is None else environment).get(variable, "").strip()
    if value and not value.startswith("-"):
        value = Path(value).read_text(encoding="utf-8")
    return value.split()


def refused_flags(variable: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Those of a variable's flags with which JAX does not start; each alone is accepted or not.

    All of them are tried at once first, so that it takes a second or so where nothing is wrong.

    Args:
      variable: one of `VARIABLES`.
      environment: `os.environ` if None.

    Returns:
      The flags as they are written; all where each alone is accepted but all together are not.

    Raises:
      ValueError: JAX does not start without them either, so that they can't be told apart; with its last words.
      OSError: as `given_flags`.
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
    """None where JAX starts with these flags, else the last line that it said."""
    own = {
        variable: " ".join(flags),
        # A try must not take the accelerator's whole memory, nor leave compiled programs behind.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
        # Else the last line of an error is about its traceback.
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
