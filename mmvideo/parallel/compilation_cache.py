"""The cache of compiled programs, so that a restarted run need not compile again."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import jax


def enable_compilation_cache() -> Path | None:
    """Enable JAX's cache of compiled programs on disk.

    The folder is that of `JAX_COMPILATION_CACHE_DIR` or of JAX's config if either is set, else `~/.cache/mmvideo/jax`
    (under `XDG_CACHE_HOME` if set). Programs for a CPU use the instructions of that CPU, so each machine has a
    subfolder of its own for them. Call this after the processes have joined and before anything is compiled.

    Returns:
      The folder; None if there is no home folder, or if `JAX_ENABLE_COMPILATION_CACHE=false` is set.
    """
    if not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        if not Path(home).is_absolute():
            return None
        folder = Path(home) / "mmvideo" / "jax"
        if jax.default_backend() == "cpu":
            folder /= platform.node()
        jax.config.update("jax_compilation_cache_dir", str(folder))
    return Path(jax.config.jax_compilation_cache_dir)
