"""Identity of a process: host, boot, container, process id and start time.

A process id alone is reused by later processes, and is ambiguous across hosts and containers.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Process:
    """Identity of a process.

    Attributes:
      host: name of its machine.
      pid: process id.
      space: boot and container in which the process id is valid; empty where the system does not report them.
      began: start time in system ticks since boot; 0 where the system does not report it.
      token: secret of this owner.
    """

    host: str
    pid: int
    space: str = ""
    began: int = 0
    token: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    @property
    def is_dead(self) -> bool:
        """True if the process has certainly ended."""
        here = this_process()
        if not self.space or (self.host, self.space) != (here.host, here.space):
            return False
        # An existing process id with another start time was reused by a later process.
        began = _began(self.pid)
        return began is None or began != self.began

    @property
    def is_alive(self) -> bool:
        """True if the process certainly runs."""
        here = this_process()
        same = bool(self.space) and (self.host, self.space) == (here.host, here.space)
        return same and _began(self.pid) == self.began


def read_process(data: bytes) -> Process | None:
    """Return the process stored as JSON; None if the JSON is damaged."""
    try:
        owner = Process(**json.loads(data))
    except (ValueError, TypeError):
        return None
    fields = dataclasses.fields(Process)
    # Dataclasses do not check types: `{"pid": "7"}` would pass otherwise.
    whole = all(type(getattr(owner, field.name)) is (int if field.type == "int" else str) for field in fields)
    return owner if whole else None


def this_process() -> Process:
    """Return this process, without a token."""
    return Process(socket.gethostname(), os.getpid(), _space(), _began(os.getpid()) or 0)


def _space() -> str:
    """Return the boot id and the container; a process id is unique only within both."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(pid: int) -> int | None:
    """Return the start of a process in ticks since boot; None if there is no such process, or it is a zombie."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # `7 (a b) c) S 1 …`: the state, field 3, follows the last bracket, so the start time, field 22, is rest[18].
    state, *rest = told.rpartition(")")[2].split()  # The name in brackets may hold anything.
    return None if state in "ZX" else int(rest[18])
