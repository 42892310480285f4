"""Stop requests: the first SIGTERM or Ctrl-C requests a stop after the step, a second one acts at once.

A closed terminal (SIGHUP) requests it too, unless the run was started to survive it (`nohup`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[int], bool]]:
    """Yield `asked(step) -> bool`, to be called after every step.

    With several processes `jax.distributed` handles SIGTERM: it detects the signal in any process, and all agree on the
    step to stop at. Ctrl-C and SIGHUP are passed on to it as a SIGTERM.
    """
    if jax.process_count() > 1:
        with _interrupt_as_termination():
            yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread only, so a trainer in another thread leaves them to its caller.
        yield lambda step: False
        return
    asked, before = threading.Event(), _heeded()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hear(number: int, frame: FrameType | None) -> None:
        # Restoring the old handlers makes a second Ctrl-C interrupt at once.
        asked.set()
        restore()

    for number in before:
        signal.signal(number, hear)
    try:
        yield lambda step: asked.is_set()
    finally:
        restore()


def _heeded() -> dict[signal.Signals, Any]:
    """Return the signals that request a stop, with their current handlers; without those that are ignored (`nohup`)."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}


@contextlib.contextmanager
def _interrupt_as_termination() -> Iterator[None]:
    """Turn the first SIGINT or SIGHUP to this process into a SIGTERM; a second one interrupts it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number, handler in _heeded().items() if number != signal.SIGTERM}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hear(number: int, frame: FrameType | None) -> None:
        restore()
        os.kill(os.getpid(), signal.SIGTERM)

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        restore()
