"""Storage that is full, read-only or limited: one clear error, the last good checkpoint stays, the run goes on."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from training_toy import LONG, ToyBatches, quick, same_bits, toy_train

from mmvideo.training.checkpoint import checkpoints as checkpoint
from mmvideo.training.checkpoint.checkpoints import Checkpoints, StorageError
from mmvideo.training.state import TrainState


def large(step: int) -> TrainState:
    """A state of 800 kB that cannot be compressed."""
    chance = jax.random.normal(jax.random.key(step), (200, 500))
    return TrainState(jnp.int32(step), {"w": chance}, {}, {"m": chance + 1}, None, jnp.int32(0), jnp.int32(0))


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 4 MB; only root can have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Takes up all room that is left."""
    filler = disk / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space left"):
        while True:
            os.write(file.fileno(), bytes(4096))
    return filler


def test_a_file_that_may_not_grow_is_told_and_the_save_before_stays(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, large(1), {})
        checkpoints.wait()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        try:
            with pytest.raises(StorageError, match=r"step 2 \(800\.0 kB\) could not be written .*step 1 is whole"):
                checkpoints.save(2, large(2), {})
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints.steps() == [1] and checkpoints.assets() == {}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, large(2), {})
    assert checkpoints.steps() == [1, 2]
    assert not list(tmp_path.glob("*tmp*")), "what the failed save left is gone"


def test_a_full_disk_ends_the_run_with_one_line_and_it_resumes_when_there_is_room(small_disk, whole_run):
    run = small_disk / "run"

    def fill_at_three(row):
        while row["step"] == 3 and not (run / "checkpoints" / "2").exists():
            time.sleep(0.01)
        if row["step"] == 3:
            fill(small_disk)

    with pytest.raises(StorageError) as raised:
        toy_train(run, quick(**LONG), ToyBatches(), on_progress=fill_at_three)
    said = str(raised.value)
    assert f"{run}" in said and "No space left on device" in said and "same command to resume" in said
    assert "\n" not in said
    assert Checkpoints(run / "checkpoints").steps() == [2]
    (small_disk / "filler").unlink()
    assert same_bits(toy_train(run, quick(**LONG), ToyBatches()), whole_run[1])


def test_a_read_only_disk_is_told_at_once(small_disk):
    with Checkpoints(small_disk / "checkpoints") as checkpoints:
        checkpoints.save(1, large(1), {})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StorageError, match="Read-only file system; have it mounted for writing"):
        with Checkpoints(small_disk / "checkpoints") as checkpoints:
            checkpoints.save(2, large(2), {})
    assert checkpoints.steps() == [1]
    with pytest.raises(StorageError, match=r"could not be written in .*run: Read-only file system"):
        toy_train(small_disk / "run", quick(**LONG), ToyBatches())


def test_slow_storage_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "SLOW", 0.0)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, large(1), {})
        assert "slow" not in capsys.readouterr().err
        checkpoints.save(2, large(2), {})
    assert "until the checkpoint of step 1 was written" in capsys.readouterr().err


def test_an_error_of_another_file_is_no_error_of_the_workdir(tmp_path):
    class Unreadable(ToyBatches):
        def iterate(self, start, stop):
            yield from super().iterate(start, 2)
            raise PermissionError(13, "Permission denied", "/clips/one.mp4")

    with pytest.raises(PermissionError) as raised:
        toy_train(tmp_path, quick(**LONG), Unreadable())
    assert not isinstance(raised.value, StorageError)
