"""Flags that this jaxlib refuses are named one by one."""

from __future__ import annotations

import os

import jax
import pytest

from mmvideo.parallel.flags import enable_latency_hiding, given_flags, refused_flags


def test_flags_are_read_as_xla_reads_them(tmp_path):
    (tmp_path / "flags").write_text("--xla_a=1\n--xla_b\n")
    assert given_flags("XLA_FLAGS", {}) == given_flags("XLA_FLAGS", {"XLA_FLAGS": " "}) == []
    assert given_flags("XLA_FLAGS", {"XLA_FLAGS": " --xla_a=1  --xla_c=x "}) == ["--xla_a=1", "--xla_c=x"]
    assert given_flags("XLA_FLAGS", {"XLA_FLAGS": str(tmp_path / "flags")}) == ["--xla_a=1", "--xla_b"]
    with pytest.raises(OSError, match="nowhere"):
        given_flags("XLA_FLAGS", {"XLA_FLAGS": str(tmp_path / "nowhere")})


def test_unknown_names_and_wrong_values_are_told_from_flags_that_are_taken():
    good, unknown, wrong = "--xla_gpu_autotune_level=2", "--xla_no_such_flag=1", "--xla_backend_optimization_level=high"
    environment = os.environ | {"XLA_FLAGS": f"{good} {unknown} {wrong}"}
    assert refused_flags("XLA_FLAGS", environment) == [unknown, wrong]
    assert refused_flags("XLA_FLAGS", environment | {"XLA_FLAGS": good}) == []


def test_what_is_no_flags_fault_is_not_laid_to_them():
    environment = os.environ | {"XLA_FLAGS": "--xla_gpu_autotune_level=2", "JAX_PLATFORMS": "no_such_platform"}
    with pytest.raises(ValueError, match="does not start without the flags of XLA_FLAGS either: .*no_such_platform"):
        refused_flags("XLA_FLAGS", environment)


@pytest.mark.parametrize(
    ("platform", "count", "given", "taken"),
    [
        ("gpu", 8, "UNKNOWN", "O1"),
        ("gpu", 8, "O3", "O3"),
        ("gpu", 1, "UNKNOWN", "UNKNOWN"),
        ("cpu", 8, "UNKNOWN", "UNKNOWN"),
    ],
)
def test_only_several_gpus_are_given_a_level_and_one_that_was_set_stays(monkeypatch, platform, count, given, taken):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "device_count", lambda: count)
    before = jax.config.jax_optimization_level
    try:
        jax.config.update("jax_optimization_level", given)
        enable_latency_hiding()
        assert jax.config.jax_optimization_level == taken
    finally:
        jax.config.update("jax_optimization_level", before)
