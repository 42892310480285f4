"""A verb that runs a model begins anew with huge pages, once, as the same process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmvideo.cli.terminal.huge_pages import environment_with_huge_pages

KERNEL = Path("/sys/kernel/mm/transparent_hugepage/enabled")
"""Who gets huge pages from the kernel, the valid word in brackets."""

ALL = "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=68719476736"

RECIPE = """
import json, os, signal, sys
print(json.dumps({
    "pid": os.getpid(), "tunables": os.environ.get("GLIBC_TUNABLES"), "stdin": sys.stdin.read(),
    "argv": sys.orig_argv[1:], "executable": sys.executable, "inherited": os.read(int(os.environ["FD"]), 9).decode(),
}), flush=True)
exec(os.environ["THEN"])
"""
"""A recipe is a program, so a real command line tells what has become of its process."""


def _has_glibc() -> bool:
    try:
        return tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))) >= (2, 35)
    except (AttributeError, ValueError, OSError):
        return False


offered = pytest.mark.skipif(not _has_glibc(), reason="glibc before 2.35, or another C library")


def run(folder, then="sys.exit(7)", verb="train", **variables):
    """A command whose recipe tells of its process; gives what it told, its number and its exit code."""
    recipe = folder / "recipe.py"
    recipe.write_text(RECIPE)
    kept = {k: v for k, v in os.environ.items() if k not in ("GLIBC_TUNABLES", "MMVIDEO_HUGE_PAGES")}
    read, write = os.pipe()
    os.write(write, b"inherited")
    flags = ["--workdir", "a b"] if verb == "train" else ["--name", "a b"]
    process = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-m", "mmvideo.cli.main", verb, str(recipe), *flags],
        env=kept | {"THEN": then, "FD": str(read), "JAX_PLATFORMS": "cpu"} | variables,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=[read],
    )  # fmt: skip
    out, err = process.communicate("typed", timeout=120)
    os.close(read), os.close(write)
    assert out, err
    return json.loads(out), process.pid, process.returncode


@offered
def test_the_same_process_begins_anew_with_all_that_it_was_given(tmp_path):
    told, pid, code = run(tmp_path)
    assert told["tunables"] == ALL
    assert told["pid"] == pid and code == 7
    assert told["stdin"] == "typed" and told["inherited"] == "inherited"
    assert told["executable"] == sys.executable
    assert told["argv"][:5] == ["-X", "utf8", "-m", "mmvideo.cli.main", "train"] and told["argv"][-1] == "a b"


@offered
def test_a_signal_that_ends_it_is_seen_by_who_started_it(tmp_path):
    _, _, code = run(tmp_path, then="os.kill(os.getpid(), signal.SIGTERM)")
    assert code == -signal.SIGTERM


@offered
@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ("glibc.malloc.check=3", f"glibc.malloc.check=3:{ALL}"),
        (
            "glibc.malloc.hugetlb=0:glibc.malloc.mmap_max=9",
            "glibc.malloc.hugetlb=0:glibc.malloc.mmap_max=9:glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=68719476736",
        ),
        (f"{ALL}:glibc.malloc.check=3", f"{ALL}:glibc.malloc.check=3"),
    ],
)
def test_tunables_of_the_user_stay(tmp_path, given, becomes):
    assert run(tmp_path, GLIBC_TUNABLES=given)[0]["tunables"] == becomes


def test_a_variable_turns_them_off(tmp_path):
    told, pid, code = run(tmp_path, MMVIDEO_HUGE_PAGES="0")
    assert told["tunables"] is None and told["pid"] == pid and code == 7


def test_other_verbs_stay_as_they_are(tmp_path):
    assert run(tmp_path, verb="plan")[0]["tunables"] is None


@offered
@pytest.mark.skipif(
    not (KERNEL.exists() and "[madvise]" in KERNEL.read_text()), reason="the kernel gives huge pages to all or nobody"
)
def test_memory_lies_in_huge_pages(tmp_path):
    """Of 64 MiB that are taken and written, most is in huge pages; the kernel may have had none left for some."""
    take = (
        "import numpy as np; a = np.ones(2**26, np.uint8); rollup = open('/proc/self/smaps_rollup').read();"
        "sys.exit(int(rollup.split('AnonHugePages:')[1].split()[0]) // 1024)"
    )
    _, _, megabytes = run(tmp_path, then=take)
    assert megabytes >= 16


@offered
def test_memory_that_threads_give_back_is_kept(tmp_path):
    """Eight threads take and give back 64 MiB each, again and again, and meet no page that is new to them."""
    take = """
import resource, threading
import numpy as np
def work():
    for _ in range(10):
        np.ones(2**26, np.uint8)
def round():
    for _ in range(8):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
round()
sys.exit(int(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before > 1000))
"""
    assert run(tmp_path, then=take)[2] == 0
    assert run(tmp_path, then=take, MMVIDEO_HUGE_PAGES="0")[2] == 1


def test_a_process_begins_anew_once_at_most():
    first = environment_with_huge_pages({"PATH": "/bin", "JAX_PLATFORMS": "cpu"})
    assert first == {"PATH": "/bin", "JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": ALL, "MMVIDEO_HUGE_PAGES": "given"}
    assert environment_with_huge_pages(first) is None
    # Where something takes the tunables away, as the loader does of privileged programs, it is not tried for ever.
    assert environment_with_huge_pages({"MMVIDEO_HUGE_PAGES": "given"}) is None


def test_a_process_with_an_accelerator_keeps_no_memory():
    given = environment_with_huge_pages({"JAX_PLATFORMS": "cuda,cpu"})
    assert given["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
