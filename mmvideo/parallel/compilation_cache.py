"""Where compiled programs are kept, so that a run that starts again need not compile again."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import jax


def enable_compilation_cache() -> Path | None:
    """Has JAX keep what it compiles from here on, and take what it kept before.

    The folder is that of `JAX_COMPILATION_CACHE_DIR` or of JAX's config where either was given, and else
    `~/.cache/mmvideo/jax` (under `XDG_CACHE_HOME` if set). Programs for a CPU use what this very CPU can do, so there
    each machine has a folder of its own in it. Must come after the processes have joined, and before anything is
    compiled.

    Returns:
      The folder; None where there is no home to keep it in, or `JAX_ENABLE_COMPILATION_CACHE=false` was said.
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
