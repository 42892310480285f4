"""Stopping on request: a first SIGTERM or Ctrl-C asks for the end of the step, a second one is obeyed at once.

A terminal that is closed asks for it too (SIGHUP), unless the run was started to outlive it (`nohup`).
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
    """Gives `asked(step) -> bool`, to be called after every step.

    With several processes SIGTERM is left to `jax.distributed`, which hears it in any of them and lets all
    agree on the step to stop at; Ctrl-C and SIGHUP are passed on to it as one.
    """
    if jax.process_count() > 1:
        with _interrupt_as_termination():
            yield multihost_utils.reached_preemption_sync_point
        return
    if threading.current_thread() is not threading.main_thread():
        # Python delivers signals to the main thread; whoever owns it decides.
        yield lambda step: False
        return
    asked, before = threading.Event(), _heeded()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def hear(number: int, frame: FrameType | None) -> None:
        asked.set()
        restore()

    for number in before:
        signal.signal(number, hear)
    try:
        yield lambda step: asked.is_set()
    finally:
        restore()


def _heeded() -> dict[signal.Signals, Any]:
    """Return the signals that ask for a stop, each with what handles it; without those that are ignored (`nohup`)."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    return {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}


@contextlib.contextmanager
def _interrupt_as_termination() -> Iterator[None]:
    """A first SIGINT or SIGHUP to this process becomes a SIGTERM; a second one interrupts it."""
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
