"""A process, told apart from all others: by host, boot, container, number and the time it began.

A number alone is given again to another process, and means nothing on another host or in another container.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Process:
    """A process, told apart from all others.

    Attributes:
      host: name of its machine.
      pid: its number there.
      space: boot and container in which the number counts; empty where the system doesn't tell.
      began: when it started, in the system's ticks since boot; 0 where the system doesn't tell.
      token: what only this owner knows.
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
        """Return whether the process certainly runs no more."""
        here = this_process()
        if not self.space or (self.host, self.space) != (here.host, here.space):
            return False
        began = _began(self.pid)
        return began is None or began != self.began

    @property
    def is_alive(self) -> bool:
        """Return whether the process certainly runs."""
        here = this_process()
        same = bool(self.space) and (self.host, self.space) == (here.host, here.space)
        return same and _began(self.pid) == self.began


def read_process(data: bytes) -> Process | None:
    """Return the process that JSON tells of; None where it is damaged."""
    try:
        owner = Process(**json.loads(data))
    except (ValueError, TypeError):
        return None
    fields = dataclasses.fields(Process)
    whole = all(type(getattr(owner, field.name)) is (int if field.type == "int" else str) for field in fields)
    return owner if whole else None


def this_process() -> Process:
    """Return this process, without a token."""
    return Process(socket.gethostname(), os.getpid(), _space(), _began(os.getpid()) or 0)


def _space() -> str:
    """The boot of this machine and the container: a process id means the same only within both."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _began(pid: int) -> int | None:
    """Return the start of a process in ticks since boot; None for none, or for one that has ended unburied."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *rest = told.rpartition(")")[2].split()  # The name in brackets may hold anything.
    return None if state in "ZX" else int(rest[18])
