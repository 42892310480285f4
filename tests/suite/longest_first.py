"""A pytest plugin that orders test files by their time, the longest first, and remembers the times between runs.

pytest-xdist gives each worker a contiguous share of the tests (`--dist worksteal`); a worker that has finished takes
half of what another has left, from the end. So each share begins with its longest files, and what changes hands at the
end are short ones. A file's tests stay together, since they share fixtures and compiled programs.

Example, two workers, files of 9, 5, 4 and 1 minutes: shares (9, 1) and (5, 4), so the order is 9, 1, 5, 4.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from kept_folder import kept_folder

UNKNOWN, UNKNOWN_SLOW = 0.3, 20.0
"""Seconds that a test is taken to last before it was ever run, without and with the marker `slow`."""


class LongestFirst:
    """Orders the tests, and writes down how long each took."""

    def __init__(self, workers: int):
        self.workers = workers
        self.file = kept_folder() / "durations.json"
        self.took: dict[str, float] = defaultdict(float)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        known = _read(self.file)
        files: dict[Path, list[pytest.Item]] = defaultdict(list)
        for item in items:
            files[item.path].append(item)
        seconds = {
            path: sum(known.get(item.nodeid, _guess(item)) for item in members) for path, members in files.items()
        }
        shares: list[list[Path]] = [[] for _ in range(self.workers)]
        for path in sorted(files, key=lambda path: (-seconds[path], path)):
            min(shares, key=lambda share: sum(seconds[one] for one in share)).append(path)
        items[:] = [item for share in shares for path in share for item in files[path]]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.took[report.nodeid] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput") or not self.took:
            return  # The process that controls the workers hears of all tests.
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(f".{os.getpid()}")
        new.write_text(json.dumps(_read(self.file) | {name: round(took, 3) for name, took in self.took.items()}))
        new.replace(self.file)


def pytest_configure(config: pytest.Config) -> None:
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)) or config.getoption("numprocesses", None) or 1
    config.pluginmanager.register(LongestFirst(workers), "longest-first-order")


def _guess(item: pytest.Item) -> float:
    return UNKNOWN_SLOW if item.get_closest_marker("slow") else UNKNOWN


def _read(file: Path) -> dict[str, float]:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):  # Never run here, or the run that wrote it was killed.
        return {}
