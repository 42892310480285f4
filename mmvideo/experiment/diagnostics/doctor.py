"""Checks of machines before a launch: `mmvideo doctor`."""

from __future__ import annotations

import dataclasses
import functools
import glob
import math
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax

from mmvideo.experiment.config import Experiment
from mmvideo.experiment.diagnostics.versions import installed, packages
from mmvideo.parallel.find_devices import find_devices
from mmvideo.parallel.flags import VARIABLES, given_flags, refused_flags

LITTLE = 10 * 2**30
"""Bytes of free storage below which a warning is given: a few checkpoints of a base model."""

UNEVEN = 0.8
"""Fraction of the fastest device's speed below which a device slows down all others."""

PATIENCE = 300.0
"""Seconds in which each check of the devices must end."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of a check.

    Attributes:
      check: name of the check.
      verdict: `ok`, `warning`, or `FAILED` if a run would fail.
      text: result, with advice where something is wrong.
    """

    check: str
    verdict: Literal["ok", "warning", "FAILED"]
    text: str


def examine(
    experiment: Experiment | None = None, workdir: str | Path = ".", corpora: Sequence[tuple[str, str | None]] = ()
) -> Iterator[Finding]:
    """Yield the findings as they come: software, flags, devices, collectives, storage, corpora.

    Every process of a launch must go through all of them; the processes have connected before the first finding is
    yielded. Flags that JAX refuses are removed from the environment, so that the other checks can run.

    Args:
      experiment: run to be launched; its mesh and its corpora are checked too.
      workdir: folder of the run.
      corpora: further corpora, each with a split or None for its first one.
    """
    found = _checked("versions", versions)
    for variable in VARIABLES:
        found += _checked("flags", functools.partial(flags, variable))
    # Only now: JAX would end the process at a flag that it refuses.
    yield from found + _checked("processes", processes)
    yield from _checked("devices", devices)
    yield from _trials(experiment)
    yield from _checked("storage", functools.partial(storage, workdir))
    sources = [*experiment.input.sources, *(experiment.evaluation.sources or ())] if experiment else []
    for path, split in dict.fromkeys([*((source.path, source.split) for source in sources), *corpora]):
        yield from _checked("corpus", functools.partial(corpus, path, split))


def _trials(experiment: Experiment | None) -> Iterator[Finding]:
    """Yield the findings that need devices; the watchdog reports a check that hangs, with its host."""
    from mmvideo.training.logging.watchdog import Watchdog

    checks: list[tuple[str, Callable[[], Iterable[Finding]]]] = [
        ("products", products),
        ("transfer", transfer),
        ("collective", collective),
    ]
    if experiment is not None:
        checks.insert(0, ("mesh", functools.partial(mesh, experiment)))
    try:
        watchdog = Watchdog(PATIENCE)
    except (RuntimeError, AssertionError):
        return  # Without devices, which their check has reported.
    with watchdog:
        for name, check in checks:
            watchdog.beat(f"in the check of {name}")
            yield from _checked(name, check)


def _checked(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Return the findings of a check; an exception becomes a failure."""
    try:
        return list(check())
    except Exception as error:  # JAX, PyArrow and file systems raise errors of many types.
        return [Finding(name, "FAILED", " ".join(f"{error or type(error).__name__}".split())[:500])]


def versions() -> Iterator[Finding]:
    """Yield packages outside their tested ranges, or the list of all that are inside."""
    python = f"Python {platform.python_version()}"
    try:
        found = packages()
    except ValueError as error:
        yield Finding("versions", "warning", f"{python}; {error}")
        return
    absent = [package for package in found if package.installed is None]
    outside = [package for package in found if package.installed is not None and not package.fits]
    for package in absent:
        yield Finding("versions", "FAILED", f"{package.name} is missing: pip install '{package.name}{package.tested}'")
    for package in outside:
        text = f"{package.name} {package.installed} is outside the tested range {package.tested}"
        yield Finding("versions", "warning", f"{text}: pip install '{package.name}{package.tested}'")
    plugins = [package for package in found if package.name.startswith("jax-cuda") and package.installed]
    for plugin in plugins:
        if plugin.installed != installed("jaxlib"):
            text = f"{plugin.name} {plugin.installed} and jaxlib {installed('jaxlib')} are of different releases"
            yield Finding("versions", "FAILED", f"{text}: pip install -U 'mmvideo[cuda]'")
    named = ", ".join(f"{package.name} {package.installed}" for package in found if package.fits)
    yield Finding("versions", "ok", f"{python}, {named}")


def flags(variable: str) -> Iterator[Finding]:
    """Check the XLA flags in one environment variable."""
    given = given_flags(variable)
    if not given:
        return
    if VARIABLES[variable] == "tpu" and installed("libtpu") is None:
        yield Finding("flags", "warning", f"{variable} is set, but there is no libtpu here that reads it: not tried")
        return
    refused = refused_flags(variable)
    if not refused:
        yield Finding("flags", "ok", f"{variable}: jaxlib {installed('jaxlib')} takes all {len(given)}")
        return
    names = " ".join(refused)
    text = f"jaxlib {installed('jaxlib')} ends at the start for {names}; take that out of {variable}"
    yield Finding("flags", "FAILED", text)
    os.environ[variable] = " ".join(flag for flag in given if flag not in refused)


def processes() -> Iterator[Finding]:
    """Check that the processes of the launch have connected."""
    from mmvideo.parallel.processes import initialize

    number, count = initialize()
    if count > 1:
        yield Finding("processes", "ok", f"{count} have found each other; this is number {number}")


def devices() -> Iterator[Finding]:
    """Describe JAX's devices, of this process and of all."""
    find_devices()
    there = jax.local_devices()
    kinds = sorted({device.device_kind for device in there})
    text = f"{len(there)} x {', '.join(kinds)} ({there[0].platform})"
    # CPUs have no statistics (None), and count as 0 here.
    limits = [(device.memory_stats() or {}).get("bytes_limit", 0) for device in there]
    if min(limits):
        text += f", {min(limits) / 2**30:.1f} GiB for JAX on each"
    if jax.process_count() > 1:
        text += f"; {jax.device_count()} in {jax.process_count()} processes"
    yield Finding("devices", "ok", text)
    # JAX falls back to the CPU without an error when its GPU or TPU package is missing: device files tell.
    if there[0].platform == "cpu":
        for what, pattern, extra in (("NVIDIA GPU", "/dev/nvidia[0-9]*", "cuda"), ("TPU", "/dev/accel*", "tpu")):
            if glob.glob(pattern):
                advice = f"pip install 'mmvideo[{extra}]', and leave JAX_PLATFORMS unset"
                yield Finding("devices", "warning", f"there is a {what} here, but JAX computes on the CPU: {advice}")
    if len(set(limits)) > 1:
        text = "some devices have less memory than others: another process may hold it (nvidia-smi shows which)"
        yield Finding("devices", "warning", text)


def mesh(experiment: Experiment) -> Iterator[Finding]:
    """Check that the run's mesh fits the devices, and its rows the mesh."""
    from mmvideo.input.checks import check_config
    from mmvideo.input.device_put import ROW_AXES
    from mmvideo.parallel.mesh import make_mesh

    check_config(experiment.input, jax.process_count())
    made = make_mesh(experiment.mesh)
    # data 4 x fsdp 2 are 8 parts: 32 rows put 4 on each, 30 rows do not divide.
    rows, cuts = experiment.input.packing.rows, math.prod(made.shape[axis] for axis in ROW_AXES)
    shape = " x ".join(f"{axis} {size}" for axis, size in made.shape.items())
    if rows % cuts:
        text = f"{shape}: {rows} rows do not divide among {cuts} parts; set input.packing.rows to a multiple of {cuts}"
        yield Finding("mesh", "FAILED", text)
    else:
        yield Finding("mesh", "ok", f"{shape}; {rows // cuts} of {rows} rows on each")


def products() -> Iterator[Finding]:
    """Check matrix products on each device of this process: a broken device computes wrong values, or is slow."""
    import jax.numpy as jnp

    from mmvideo.parallel.device_checks import multiply

    host = jax.local_devices()[0].platform == "cpu"
    # 2 * 8192^3 = 1.1 TFLOP a call on an accelerator, long enough to time; a CPU would take minutes.
    size, dtype, calls = (512, jnp.float32, 2) if host else (8192, jnp.bfloat16, 20)
    found = {device: multiply(device, size, dtype, calls) for device in jax.local_devices()}
    wrong = [str(device) for device, trial in found.items() if not trial.right]
    if wrong:
        yield Finding("products", "FAILED", f"wrong results from {', '.join(wrong)}: take the device out of the run")
    rates = [trial.rate / 1e12 for trial in found.values()]
    text = f"{size} x {size} in {jnp.dtype(dtype).name}: {_range(rates)} TFLOP/s on a device"
    # Devices of one type differ by a few per cent; CPU devices share cores, so their rates say nothing.
    if not host and min(rates) < UNEVEN * max(rates):
        slowest = min(found, key=lambda device: found[device].rate)
        yield Finding("products", "warning", f"{text}; {slowest} is slow: too hot, throttled, or shared with others")
    elif not wrong:
        yield Finding("products", "ok", text)


def transfer() -> Iterator[Finding]:
    """Check and measure the transfer from the host to each device of this process."""
    from mmvideo.parallel.device_checks import send

    there = jax.local_devices()
    if there[0].platform == "cpu":
        return  # The device's memory is the host's.
    found = [send(device, 256 * 2**20) for device in there]
    text = f"host to device {_range([trial.rate / 1e9 for trial in found])} GB/s"
    wrong = [str(device) for device, trial in zip(there, found, strict=True) if not trial.right]
    if wrong:
        yield Finding("transfer", "FAILED", f"{text}; other bytes arrive on {', '.join(wrong)}")
    else:
        yield Finding("transfer", "ok", text)


def collective() -> Iterator[Finding]:
    """Check and measure a sum over all devices of all processes."""
    from mmvideo.parallel.device_checks import all_reduce

    count = jax.device_count()
    if count == 1:
        return
    size = 2**20 if jax.devices()[0].platform == "cpu" else 256 * 2**20
    trial = all_reduce(size)
    text = f"all-reduce of {size // 2**20} MiB over {count} devices: {trial.rate / 1e9:.3g} GB/s a link"
    if trial.right:
        yield Finding("collective", "ok", text)
    else:
        advice = "the sum is wrong; a link or a device is broken, or its driver and NCCL or libtpu do not fit"
        yield Finding("collective", "FAILED", f"{text}; {advice}")


def storage(workdir: str | Path) -> Iterator[Finding]:
    """Check that a workdir can be written, and measure its speed."""
    from mmvideo.training.checkpoint.storage_probe import try_storage

    try:
        found = try_storage(workdir)
    except OSError as error:
        advice = "take another folder (--workdir), or see to its rights and its room"
        yield Finding("storage", "FAILED", f"{workdir} cannot be written: {error}; {advice}")
        return
    text = (
        f"{workdir}: write {found.write / 1e6:.0f} MB/s to the disk, read {found.read / 1e6:.0f} MB/s, "
        f"{found.free / 2**30:.1f} GiB free"
    )
    if found.free < LITTLE:
        yield Finding("storage", "warning", f"{text}; make room, or lower training.keep: a full disk ends the run")
    else:
        yield Finding("storage", "ok", text)


def corpus(path: str, split: str | None) -> Iterator[Finding]:
    """Check that a corpus opens and its clips can be decoded."""
    from mmvideo.datasets.corpus import open_corpus, splits
    from mmvideo.datasets.preview import read_sample

    there = open_corpus(path, split or next(iter(splits(path))))
    found = read_sample(there)
    text = f"{path}:{there.split}: {len(there)} clips; decoded {found.stretch:.0f} s of {found.clips}"
    if found.unreadable:
        clip, reason = found.unreadable[0]
        text += f"; {len(found.unreadable)} cannot be read, such as {clip}: {reason}"
        verdict = "FAILED" if len(found.unreadable) == found.clips else "warning"
        yield Finding("corpus", verdict, f"{text}. A run skips such clips; rebuild the corpus if there are many")
    elif found.truncated:
        text += f"; {len(found.truncated)} end early or are damaged, such as {found.truncated[0]}"
        yield Finding("corpus", "warning", f"{text}. A run fills up what is missing")
    else:
        speed = found.stretch / max(found.seconds, 1e-9)
        yield Finding("corpus", "ok", f"{text} at {speed:.0f} times their speed, one after another")


def _range(values: Sequence[float]) -> str:
    """Return `31.2`, or `29.8 to 31.2` for several values."""
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return high if low == high else f"{low} to {high}"
