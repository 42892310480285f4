"""Trace of some steps of a run: activity of host and devices over time, under names of this package.

`WORKDIR/profile/plugins/profile/DATE/` holds it twice: `*.xplane.pb` for TensorBoard (with the plugin `xprof`) and
`*.trace.json.gz` for Perfetto or Chrome. On the host, a step is `train` with its number. The phases of `ledger.jsonl`
(`wait`, `step`, `checkpoint`, `evaluation`) are regions of the main thread; `record`, `decode`, `tokenise`, `mix` and
`assemble` are regions of the threads that prepare clips. On the devices every operation has the name of its part of the
model: `embed`, the name of a stage with `attention` and `feed_forward`, the name of an objective, `optimizer`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

FOLDER = "profile"
"""Folder of the traces in a workdir."""

UNTRACED = 2
"""Steps of a start before a trace: the first is compiled, and the second runs with empty caches."""


class Profile:
    """Trace of some steps of one start of a run, made once.

    Args:
      folder: folder of the trace; None traces nothing.
      steps: number of steps.
      say: receives a message with the path of the trace.
    """

    def __init__(self, folder: Path | None, steps: int, say: Callable[[str], None]):
        self._folder, self._steps, self._say = folder, steps, say
        self._seen, self._first, self._last = 0, 0, 0
        self._running = False

    def __enter__(self) -> Profile:
        return self

    def __exit__(self, *error: object) -> None:
        if self._running:
            self._end()
        elif self._folder is not None and self._seen <= UNTRACED:
            self._say(f"nothing was traced: of this start's {self._seen} steps the first {UNTRACED} are left out")

    def before(self, step: int) -> None:
        """Begin the trace if `step`, about to begin, is the first one to trace."""
        if self._folder is not None and self._seen == UNTRACED:
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # Python calls are millions: they slow the run down and hide the rest.
            jax.profiler.start_trace(self._folder, profiler_options=options)
            self._running, self._first = True, step
        self._seen += 1
        self._last = step

    def after(self, result: Any) -> None:
        """End the trace after the last of the steps, when the devices have computed its result."""
        if self._running and self._seen == UNTRACED + self._steps:
            jax.block_until_ready(result)
            self._end()

    def _end(self) -> None:
        self._running = False
        jax.profiler.stop_trace()
        self._say(
            f"steps {self._first + 1} to {self._last + 1} are traced in {self._folder}: "
            f"tensorboard --logdir {self._folder}, or its trace.json.gz at ui.perfetto.dev"
        )
