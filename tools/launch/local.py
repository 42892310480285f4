"""Start a command as several processes of one run on this machine, and end them together.

COMMAND  python tools/launch/local.py -n 2 [--devices 2] [--cores 1] [--grace 30] -- mmvideo train RECIPE …
NEEDS    nothing but Python

Every process gets the variables that `mmvideo.parallel.processes` reads. Every line that a process writes is prefixed
with its number, `[0] step 10/100 …`, on the same stream. SIGTERM and SIGINT are forwarded to all processes. If one
fails, the others have the grace period to end by themselves; then they get SIGTERM, and SIGKILL after another grace
period. The exit code is that of the first process that failed, 128 + n if signal n ended it, and 0 if none failed. If
the launcher itself is killed, so are its processes (on Linux).

One process sees all accelerators of a machine, so a machine of eight GPUs needs no launcher. Use this one to try
runs of several processes, on CPUs with `--devices` fake devices each, and for tests and benchmarks.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import BinaryIO

PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds"
"""Seconds after which XLA aborts when fake devices wait for each other, which happens on few cores."""

DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of `prctl(2)`."""


@dataclasses.dataclass
class Output:
    """One stream of one process, cut into lines.

    Attributes:
      pipe: pipe that the process writes to.
      out: stream for its lines.
      prefix: text before each line.
      rest: the incomplete last line.
    """

    pipe: BinaryIO
    out: BinaryIO
    prefix: bytes
    rest: bytes = b""

    def take(self) -> bool:
        """Forward what has come, in whole lines; return False at the end of the stream."""
        new = os.read(self.pipe.fileno(), 1 << 16)
        *lines, self.rest = (self.rest + new).split(b"\n")
        if not new and self.rest:
            lines, self.rest = [*lines, self.rest], b""
        if lines:
            self.out.write(b"".join(self.prefix + line + b"\n" for line in lines))
            self.out.flush()
        return bool(new)


def launch(
    command: Sequence[str], count: int, *, devices: int | None = None, cores: int | None = None, grace: float = 30.0
) -> int:
    """Run `count` processes of a command to their end, and return the exit code.

    Args:
      command: program and arguments, the same for all.
      count: number of processes.
      devices: fake CPU devices of each; None leaves JAX its own choice of devices.
      cores: cores of each, shared with no other process as long as there are enough; None: all.
      grace: seconds that the others have after one has failed.
    """
    shared = environment(os.environ, count, _free_port(), devices)
    with _signals() as heard:
        processes = [
            subprocess.Popen(
                command,
                env=shared | {"MMVIDEO_PROCESS": str(number)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Ctrl-C goes to the launcher alone: a process that heard it twice would not save.
                process_group=0,
                preexec_fn=_in_child(number, cores),
            )
            for number in range(count)
        ]
        try:
            return _watch(processes, heard, grace)
        finally:
            for process in processes:
                process.kill()
                process.wait()


def environment(given: Mapping[str, str], count: int, port: int, devices: int | None) -> dict[str, str]:
    """Return the environment of all processes; each also gets its own `MMVIDEO_PROCESS`."""
    made = {**given, "PYTHONUNBUFFERED": "1"}
    made |= {"MMVIDEO_COORDINATOR": f"localhost:{port}", "MMVIDEO_PROCESSES": str(count)}
    if devices is not None:
        flags = given.get("XLA_FLAGS", "")
        made |= {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}
        made["XLA_FLAGS"] = flags if PATIENCE in flags else f"{flags} {PATIENCE}=600".strip()
    return made


def exit_code(returned: int) -> int:
    """Return the exit code in the shell's form: 128 + n for a process that signal n ended."""
    return returned if returned >= 0 else 128 - returned


def _watch(processes: Sequence[subprocess.Popen], heard: list[int], grace: float) -> int:
    """Forward lines and signals until all have ended; return the exit code of the first that failed."""
    first, deadline, asked = 0, float("inf"), False
    with _reading(processes) as pass_on:
        while any(process.poll() is None for process in processes):
            pass_on(0.05)
            for process in processes:
                code = process.poll()
                if code and not first:
                    first, deadline = exit_code(code), time.monotonic() + grace
            running = [process for process in processes if process.poll() is None]
            while heard:
                _send(running, heard.pop(0))
            if time.monotonic() > deadline:
                _send(running, signal.SIGKILL if asked else signal.SIGTERM)
                asked, deadline = True, time.monotonic() + grace
    codes = [process.wait() for process in processes]
    return first or next((exit_code(code) for code in codes if code), 0)


@contextlib.contextmanager
def _reading(processes: Sequence[subprocess.Popen]) -> Iterator[Callable[[float], bool]]:
    """Yield `pass_on(seconds)`, which waits this long for output, forwards it, and returns whether any came."""
    with selectors.DefaultSelector() as selector:
        for number, process in enumerate(processes):
            prefix = f"[{number}] ".encode()
            for pipe, out in ((process.stdout, sys.stdout.buffer), (process.stderr, sys.stderr.buffer)):
                selector.register(pipe, selectors.EVENT_READ, Output(pipe, out, prefix))

        def pass_on(seconds: float) -> bool:
            ready = selector.select(seconds)
            for key, _ in ready:
                if not key.data.take():
                    selector.unregister(key.fileobj)
            return bool(ready)

        yield pass_on
        # Read the last output; a surviving grandchild may hold the streams open, but is not waited for.
        while selector.get_map() and pass_on(0):
            pass


def _send(processes: Sequence[subprocess.Popen], number: int) -> None:
    for process in processes:
        process.send_signal(number)


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Yield the list of signals received meanwhile, to be forwarded."""
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)

    before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_child(number: int, cores: int | None) -> Callable[[], None]:
    """Return a function that a child calls before its command: pin its cores, and let it die with the launcher."""
    mine = _share(sorted(os.sched_getaffinity(0)), number, cores) if hasattr(os, "sched_getaffinity") else None
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        if libc is not None:
            libc.prctl(DIE_WITH_PARENT, signal.SIGKILL)
        if mine is not None:
            os.sched_setaffinity(0, mine)

    return prepare


def _share(every: Sequence[int], number: int, cores: int | None) -> set[int] | None:
    """Return the cores of one process; if there are not enough, assignment starts again from the first."""
    if cores is None:
        return None
    return {every[place % len(every)] for place in range(number * cores, (number + 1) * cores)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def main() -> int:
    """Parse arguments and launch."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], usage="local.py [-h] -n N [options] -- COMMAND …"
    )
    parser.add_argument("-n", "--processes", type=_positive, required=True, help="number of processes")
    parser.add_argument(
        "--devices", type=_positive, help="fake CPU devices of each (default: the devices that JAX finds)"
    )
    parser.add_argument("--cores", type=_positive, help="cores of each, so that no process slows another down")
    parser.add_argument("--grace", type=float, default=30.0, help="seconds for the others when one fails (default: 30)")
    parser.add_argument("command", nargs="+", help="command to run, after --")
    options = parser.parse_args()
    return launch(options.command, options.processes, devices=options.devices, cores=options.cores, grace=options.grace)


if __name__ == "__main__":
    sys.exit(main())
