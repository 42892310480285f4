"""A pytest plugin that lists the slowest tests, and fails a slow one that does not say why it is slow.

With `--fail-slow 10` a test of more than 10 processor seconds (its own process and its child processes; compilation and
fixtures left out) needs `@pytest.mark.slow(reason="…")`. Seconds are those of a quiet server core: on a slower
processor the limit grows by the time of a fixed calculation, measured right after the test.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import jax.monitoring
import pytest

CALCULATION = 0.11
"""Processor seconds of `_calculate` on a quiet core of an AMD EPYC (Python 3.11, 2026-11-30)."""
LISTED = 10

_compiling = 0.0


def _count_compilation(event: str, seconds: float, **_: object) -> None:
    global _compiling
    if event.endswith("backend_compile_duration"):
        _compiling += seconds


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-slow", type=float, metavar="SECONDS", help="fail slower tests that state no reason")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    mark = item.get_closest_marker("slow")
    if mark and not mark.kwargs.get("reason"):
        pytest.fail('a slow test says why: @pytest.mark.slow(reason="…")', pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    started, compiled = _processor_seconds(), _compiling
    try:
        return (yield)
    finally:
        # Compilation is told in seconds of the clock, which on a busy machine are more than those of the processor.
        spent = max(0.0, _processor_seconds() - started - (_compiling - compiled))
        item.user_properties.append(("processor_seconds", spent))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[pytest.TestReport]:
    report = yield
    allowed = item.config.getoption("--fail-slow")
    if allowed is None or call.when != "call" or not report.passed or item.get_closest_marker("slow"):
        return report
    spent = dict(item.user_properties)["processor_seconds"]
    if spent > allowed:
        allowed *= max(1.0, _calculate() / CALCULATION)
    if spent > allowed:
        report.outcome = "failed"
        report.longrepr = (
            f"{item.nodeid} took {spent:.1f} processor seconds of {allowed:.1f} allowed: make it faster, or say why it "
            'needs them with @pytest.mark.slow(reason="…")'
        )
    return report


def pytest_terminal_summary(terminalreporter) -> None:
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, ())]
    timed = [(dict(one.user_properties).get("processor_seconds", 0.0), one.duration, one.nodeid) for one in reports]
    slowest = sorted(timed, reverse=True)[:LISTED]
    if slowest and slowest[0][0] > 1:
        terminalreporter.section(f"the {len(slowest)} slowest tests: processor seconds without compilation, seconds")
        for spent, took, name in slowest:
            terminalreporter.write_line(f"{spent:7.1f} {took:7.1f}  {name}")


def _processor_seconds() -> float:
    return sum(
        found.ru_utime + found.ru_stime
        for found in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _calculate() -> float:
    """Return the processor seconds of a fixed calculation."""
    started = time.process_time()
    sum(number * number for number in range(2_000_000))
    return time.process_time() - started
