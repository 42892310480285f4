"""Ownership of a workdir: the file that names the process that trains there, and the takeover after its death.

`owner.json` holds host, process id and a token; its modification time is the owner's heartbeat. It is created by a hard
link, which succeeds for exactly one of several processes on any file system, including network file systems, where
locks may be lost or kept for dead processes. The first process of a run holds it for the whole run.

| the existing file | result |
|---|---|
| of a dead process of this host, by process id and start time | taken over at once |
| of another host, container or boot, with a heartbeat during the wait | the run ends and names the owner |
| the same, without a heartbeat for `PATIENCE` seconds | taken over, with a message |
| unreadable | as of another host |

An owner that was only suspended (a stopped process, a hung machine) finds the new token at its next heartbeat, and ends
before it saves anything. Heartbeats are compared only with each other, so clocks of hosts may differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import orbax.checkpoint as ocp

from mmvideo.records.whole import draft_name, sweep_drafts
from mmvideo.training.process_identity import Process, read_process, this_process
from mmvideo.training.workdir import WorkdirError

OWNER = "owner.json"

BEAT, PATIENCE = 10.0, 60.0
"""Seconds between two heartbeats, and seconds without a heartbeat after which an owner counts as dead."""

MOMENT = 2.0
"""Seconds that a terminating owner on this host has before a second run is refused."""

LONGEST = 3600.0
"""Longest wait of the other processes for the first one's answer, in seconds."""

_CALLS = itertools.count()
"""Number of questions that this process has asked the first one; all processes ask equally often."""


class Owner:
    """Context manager that holds a workdir.

    Args:
      workdir: folder, created if missing.
      beat, patience: see the constants.
    """

    def __init__(self, workdir: Path, beat: float = BEAT, patience: float = PATIENCE):
        self._path, self._beat, self._patience = workdir / OWNER, beat, patience
        self._own = dataclasses.replace(this_process(), token=secrets.token_hex(16))
        self._lost: str | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Owner:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        sweep_drafts(self._path)
        self._take()
        self._thread = threading.Thread(target=self._keep, name="owner", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(OSError):
            if self._is_mine():
                self._path.unlink()

    def check(self, now: bool = False) -> None:
        """Check that the workdir still belongs to this process.

        Args:
          now: read the file; otherwise use the result of the last heartbeat.

        Raises:
          WorkdirError: another process has taken it over, or the file was removed.
        """
        if now:
            with contextlib.suppress(OSError):  # Storage that doesn't answer takes nothing away.
                self._look()
        if self._lost is not None:
            raise WorkdirError(self._lost)

    def _take(self) -> None:
        """Create the file, or take over a dead owner's.

        Raises:
          WorkdirError: another process trains there.
        """
        while not self._make():
            # The file exists: it belongs to a living owner or is left from a dead one.
            found, seen = _read(self._path)
            if seen is None:
                continue  # It went away between two looks.
            why = "is dead" if found is not None and found.is_dead else self._await(found, seen)
            if why is None:
                continue
            if self._replace(found, seen):
                print(f"mmvideo: {found or 'whoever'} owned {self._path.parent} and {why}: taken over", file=sys.stderr)
                return

    def _make(self) -> bool:
        """Create the file if there is none; return whether this process did."""
        with self._written() as draft, contextlib.suppress(FileExistsError):
            try:
                os.link(draft, self._path)
            except FileExistsError:
                raise
            except OSError:  # A file system without hard links: the next best that one process alone can make.
                with self._path.open("xb") as file:
                    file.write(draft.read_bytes())
        return self._is_mine()  # A server may have made the link, and its answer been lost.

    def _await(self, found: Process | None, seen: float) -> str | None:
        """Wait for a heartbeat; return the reason for a takeover, or None if the file has changed hands meanwhile.

        Raises:
          WorkdirError: there was a heartbeat.
        """
        if found is not None and found.pid == os.getpid() and found.is_alive:
            raise WorkdirError(f"{self._path.parent} is being trained in by this very process; take another workdir")
        said = False
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            now, beat = _read(self._path)
            if beat is None or (now is not None and found is not None and now.token != found.token):
                return None
            # A process that was just killed may take a moment to end.
            alive = found is not None and found.is_alive and time.monotonic() > end - self._patience + MOMENT
            if beat != seen or alive:
                raise WorkdirError(self._occupied(found))
            if found is not None and found.is_dead:
                return "is dead"
            if not said and not (found is not None and found.is_alive):
                said = True
                print(
                    f"mmvideo: {found or 'a process'} owns {self._path.parent}; waiting up to {self._patience:.0f} s "
                    "to see whether it lives",
                    file=sys.stderr,
                )
            time.sleep(min(self._beat / 4, 1.0))
        if found is not None and found.is_alive:  # Storage may be too slow for heartbeats.
            raise WorkdirError(self._occupied(found))
        return f"has given no sign of life for {self._patience:.0f} s"

    def _occupied(self, found: Process | None) -> str:
        return (
            f"{found or 'another process'} trains in {self._path.parent}: take another --workdir, or stop that one "
            f"first; if you know that it is dead, remove {self._path} and run the same command again"
        )

    def _replace(self, found: Process | None, seen: float) -> bool:
        """Replace a dead owner's file by this process's; return False if another process was faster.

        Of several processes that find the same owner dead, the one that creates a file named after the owner's token
        may replace it.
        """
        # The claim is named after the dead owner's token, so processes that found the same owner dead compete for one
        # file.
        claim = self._path.with_name(f".{OWNER}.{found.token if found else 'unreadable'}.taken")
        try:
            os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                if time.time() - claim.stat().st_mtime > self._patience:
                    claim.unlink()  # Of one that died while it took over.
            time.sleep(0.2)
            return False
        try:
            now, beat = _read(self._path)
            # The owner may have come back, or another process may have replaced it, before the claim was made.
            if (now.token if now else None) != (found.token if found else None) or beat != seen:
                return False
            with self._written() as draft:
                draft.replace(self._path)
            return True
        finally:
            claim.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _written(self) -> Iterator[Path]:
        """Yield a draft file beside the owner file with this process's identity."""
        draft = draft_name(self._path, f"-{self._own.token}")
        draft.write_text(json.dumps(dataclasses.asdict(self._own)) + "\n", encoding="utf-8")
        try:
            yield draft
        finally:
            draft.unlink(missing_ok=True)

    def _keep(self) -> None:
        """Send heartbeats until the block ends or the workdir is lost."""
        while self._lost is None and not self._over.wait(self._beat):
            with contextlib.suppress(OSError):
                self._look()
                if self._lost is None:
                    os.utime(self._path)

    def _look(self) -> None:
        """Record that the file belongs to another process or is gone."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            self._lost = f"{self._path} was removed: another run may begin in this workdir, so this one ends"
            return
        # A stopped process that wakes up finds the token of its successor here.
        owner = read_process(data)
        if owner is None or owner.token != self._own.token:
            self._lost = f"{owner or 'another process'} has taken over {self._path.parent}, so this run ends"

    def _is_mine(self) -> bool:
        owner, _ = _read(self._path)
        return owner is not None and owner.token == self._own.token


@contextlib.contextmanager
def owned(workdir: Path) -> Iterator[Owner | None]:
    """Hold the workdir of a run in its first process; the other processes get None, and end if the first is refused.

    Raises:
      WorkdirError: another run trains there; raised in every process.
    """
    with contextlib.ExitStack() as stack:
        owner, refused = None, None
        if jax.process_index() == 0:
            try:
                owner = stack.enter_context(Owner(workdir))
            except Exception as error:
                refused = error
        # The other processes must not start to train where the first was refused.
        if jax.process_count() > 1:
            if not _told_by_the_first(refused is None) and refused is None:
                refused = WorkdirError(f"the first process could not take {workdir}; look at what it says")
        if refused is not None:
            raise refused
        yield owner


def _told_by_the_first(fine: bool) -> bool:
    """Return the first process's value in all processes.

    It goes through the coordinator, not the devices. A program on the devices may still run on one of them when its
    result is available, and a second program beside it can exhaust the few threads of a host that simulates many
    devices.
    """
    client, key = ocp.multihost.get_jax_distributed_client(), f"mmvideo/owner/{next(_CALLS)}"
    if jax.process_index() == 0:
        client.key_value_set(key, str(fine))
        return fine
    return client.blocking_key_value_get(key, int(LONGEST * 1000)) == str(True)


def _read(path: Path) -> tuple[Process | None, float | None]:
    """Return the owner, None if it is unreadable, and its last heartbeat, None if there is no file."""
    try:
        beat = path.stat().st_mtime
        return read_process(path.read_bytes()), beat
    except FileNotFoundError:
        return None, None
