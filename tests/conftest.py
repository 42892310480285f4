"""Every test runs on eight fake CPU devices, with shapes checked at run time and compiled programs cached."""

from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "suite"))
from kept_folder import code_digest, kept_folder, remove_unused  # noqa: E402

pytest_plugins = ["longest_first", "time_guard"]

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Eight fake devices wait for each other on few cores, where XLA would give up and abort after 40 seconds.
FLAGS = [
    "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    # Most programs here are compiled once and run once: little is gained by making them fast.
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    # The test processes share the cores; a second thread in each gains little. Of a program that was cut up to be
    # compiled by many threads, a part was once waited for that none of them worked on.
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_cpu_parallel_codegen_split_count=1",
    "--xla_cpu_opt_preset=CPU_OPT_PRESET_FAST_COMPILE",
]
if version("jaxlib").startswith("0.10."):
    # A third of the compile time. Later versions have one way only to write fused loops, and refuse the flag.
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *FLAGS])
# One program at a time: of many in flight, each waiting for all its devices, XLA's few threads once finished none.
os.environ.setdefault("JAX_CPU_ENABLE_ASYNC_DISPATCH", "false")
# Compiled programs and the embedded sets are kept between runs on one machine, also for the processes that tests start.
KEPT = kept_folder()
PACKAGE = Path(__file__).parent.parent / "mmvideo"
os.environ.setdefault(
    "MMVIDEO_CACHE", str(KEPT / f"corpora-{code_digest(PACKAGE / 'datasets', PACKAGE / 'media', PACKAGE / 'input')}")
)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(KEPT / "programs"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

# Tracing makes many small objects that live on: neither looking for cycles nor source lines pays here.
gc.set_threshold(200_000, 20, 20)
jax.config.update("jax_traceback_in_locations_limit", 0)
jax.config.update("jax_num_cpu_devices", 8)

# The stream's containers are left out: JAX rebuilds them with leaves that are not arrays.
CHECKED = ["mmvideo.media", "mmvideo.model", "mmvideo.objectives", "mmvideo.input", "mmvideo.evaluation"]
install_import_hook(CHECKED, "beartype.beartype")


def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        remove_unused(KEPT)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory) -> Path:
    """A folder for what all test processes of this run share; whoever makes something there holds a lock."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def shapes(shared_folder) -> Path:
    """A built corpus: 40 clips to train on, 16 to test."""
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    folder = shared_folder / "shapes"
    with open(shared_folder / "shapes.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Both go on where they were left: nothing is made twice.
        write_shapes(folder / "clips", ShapesConfig(size=32), splits={"train": 40, "test": 16}, processes=1)
        build(folder / "clips", folder / "corpus", tokenizer_vocabulary=128, processes=1, progress=False)
    return folder / "corpus"


@pytest.fixture(scope="session")
def launch():
    """`launch(command, …)` runs a command in two processes of two fake devices each; the lines that each printed."""
    root = Path(__file__).parent.parent

    def run(command: list[str], processes: int = 2, devices: int = 2, timeout: float = 400) -> list[list[str]]:
        counts = ["-n", str(processes), "--devices", str(devices)]
        done = subprocess.run(
            [sys.executable, str(root / "tools" / "launch" / "local.py"), *counts, "--", *command],
            env=os.environ | {"PYTHONPATH": str(root)},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
        return [[text for number, text in lines if number == f"[{process}]"] for process in range(processes)]

    return run


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Let go of compiled programs between files before they take too much memory or too many memory maps.

    Those of all files together take gigabytes, and a process may have 65,530 maps, of which a program takes several.
    """
    yield
    if _gibibytes() > 3.5 or _maps() > 30_000:
        jax.clear_caches()
        gc.collect()


def _gibibytes() -> float:
    """Return the memory that this process holds; infinity where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return float("inf")
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def _maps() -> int:
    try:
        return Path("/proc/self/maps").read_bytes().count(b"\n")
    except OSError:
        return 0
