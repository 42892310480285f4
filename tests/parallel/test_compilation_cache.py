"""The folder of compiled programs: as configured, or the user's cache; a second process reads them."""

import os
import platform
import subprocess
import sys

import pytest

COMPILES = """
import jax
from mmvideo.parallel.compilation_cache import enable_compilation_cache

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event))
print(enable_compilation_cache())
jax.block_until_ready(jax.jit(lambda x: x @ x)(jax.numpy.ones((8, 8))))
print("/jax/compilation_cache/cache_hits" in found)
"""


def compile_in(**environment: str) -> list[str]:
    """Return the output of the program: the folder, and whether anything was read from it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", COMPILES], env=kept | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n")[:2]


def test_the_next_process_takes_what_was_compiled(tmp_path):
    folder = tmp_path / "mmvideo" / "jax" / platform.node()
    assert compile_in(XDG_CACHE_HOME=str(tmp_path)) == [str(folder), "False"]
    assert list(folder.glob("*-cache"))
    assert compile_in(XDG_CACHE_HOME=str(tmp_path)) == [str(folder), "True"]


def test_a_folder_that_was_given_stays(tmp_path):
    assert compile_in(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine")) == [
        str(tmp_path / "mine"),
        "False",
    ]
    assert list((tmp_path / "mine").glob("*-cache"))


@pytest.mark.parametrize("environment", [{"JAX_ENABLE_COMPILATION_CACHE": "false"}, {"XDG_CACHE_HOME": "not/absolute"}])
def test_nothing_is_kept_where_it_may_not_or_cannot(environment, tmp_path):
    assert compile_in(**{"XDG_CACHE_HOME": str(tmp_path)} | environment) == ["None", "False"]
    assert not list(tmp_path.iterdir())


def test_what_was_cut_short_is_compiled_again(tmp_path):
    compile_in(JAX_COMPILATION_CACHE_DIR=str(tmp_path))
    for program in tmp_path.glob("*-cache"):
        program.write_bytes(program.read_bytes()[: program.stat().st_size // 2])
    assert compile_in(JAX_COMPILATION_CACHE_DIR=str(tmp_path))[1] == "False"
