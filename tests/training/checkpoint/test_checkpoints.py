"""Checkpoints: what comes back is what went in, or an error that says what isn't."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from training_toy import LONG, Toy, ToyBatches, quick, same_bits, toy_mesh, toy_train

from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints, DamagedCheckpoint
from mmvideo.training.checkpoint.checksums import digests
from mmvideo.training.checkpoint.writing import SHARED
from mmvideo.training.state import init_abstract


def shapes(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), tree)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << (place % 8)
    path.write_bytes(data)


def test_a_state_comes_back_bit_for_bit_with_its_files(whole_run):
    workdir, state = whole_run
    checkpoints = Checkpoints(workdir / "checkpoints")
    assert checkpoints.steps() == [2, 4, 6] and checkpoints.latest == 6
    assert same_bits(checkpoints.restore(shapes(state)), state)
    assert int(checkpoints.restore(shapes(state), step=4).step) == 4
    assets = checkpoints.assets()
    assert assets["tokenizer.model"] == b"\x00\x01pieces"
    assert json.loads(assets["statistics.json"]) == {"mean": -4.5}
    assert json.loads(assets["config.json"])["training"]["ema"] == 0.9


def test_only_the_newest_are_kept(tmp_path):
    toy_train(tmp_path, quick(steps=5, save_every=1, keep=2), ToyBatches())
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4, 5]


def test_parameters_or_their_average_come_alone(whole_run):
    workdir, state = whole_run
    checkpoints = Checkpoints(workdir / "checkpoints")
    assert same_bits(checkpoints.restore_params(shapes(state.params)), state.params)
    assert same_bits(checkpoints.restore_params(shapes(state.params), ema=True), state.ema)
    assert not same_bits(checkpoints.restore_params(shapes(state.params), step=2), state.params)


def test_another_mesh_takes_its_own_parts(whole_run):
    workdir, state = whole_run
    plan = init_abstract(lambda rngs: Toy(rngs=rngs), quick(**LONG), toy_mesh(1, 2, 2))
    there = Checkpoints(workdir / "checkpoints").restore(plan.abstract)
    kernel = there.params["inner"]["kernel"]
    assert kernel.sharding.spec == PartitionSpec("fsdp", "tensor") and len(kernel.addressable_shards) == 4
    assert same_bits(there, state)


def test_another_shape_is_refused_by_name(whole_run):
    wide = init_abstract(lambda rngs: Toy(width=16, rngs=rngs), quick(**LONG), toy_mesh())
    checkpoints = Checkpoints(whole_run[0] / "checkpoints")
    with pytest.raises(CheckpointError, match=r"params\.embed\.bias is float32\[8\] there and float32\[16\] here"):
        checkpoints.restore(wide.abstract)
    averaged_less = init_abstract(
        lambda rngs: Toy(rngs=rngs), quick(**{**LONG, "optimizer": {"name": "sgd"}}), toy_mesh()
    )
    with pytest.raises(CheckpointError, match=r"rest\.opt_state\.1\.count is int32\[\] there and absent here"):
        checkpoints.restore(averaged_less.abstract)


def test_a_missing_checkpoint_is_said(tmp_path, whole_run):
    with pytest.raises(CheckpointError, match="no checkpoint in .*train first"):
        Checkpoints(tmp_path).assets()
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 3 .*\[2, 4, 6\]"):
        Checkpoints(whole_run[0] / "checkpoints").assets(step=3)


def test_a_flipped_byte_never_comes_back_unnoticed(copied_run, whole_run):
    """One byte of every file, one after the other: what is restored equals what was saved, or is refused."""
    state = whole_run[1]
    checkpoints = Checkpoints(copied_run / "checkpoints")
    folder, whole = copied_run / "checkpoints" / "6", copied_run / "whole"
    shutil.copytree(folder, whole)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    refused = {}
    for number, path in enumerate(files):
        flip(path, 7 + 31 * number)
        try:
            assert same_bits(checkpoints.restore(shapes(state), step=6), state), f"{path} came back changed"
        except CheckpointError as error:
            refused[path] = str(error)
        shutil.copyfile(whole / path.relative_to(folder), path)
    # Marks of Orbax's that tell when all was written, from which nothing is read.
    marks = {"_CHECKPOINT_METADATA", "commit_success.txt", "written/commit_success.txt"}
    assert {str(path.relative_to(folder)) for path in set(files) - refused.keys()} == marks
    assert all(path.name in message for path, message in refused.items())


def test_changed_numbers_are_found_where_orbax_sees_nothing(copied_run, whole_run):
    """A checkpoint whose files are all sound, but hold other numbers, is refused with the array's name."""
    state = whole_run[1]
    # Files that are too large to be digested as such are known by their arrays alone.
    shutil.rmtree(copied_run / "checkpoints" / "6" / "written")
    for part in ("params", "rest"):
        shutil.rmtree(copied_run / "checkpoints" / "6" / part)
        shutil.copytree(copied_run / "checkpoints" / "4" / part, copied_run / "checkpoints" / "6" / part)
    with pytest.raises(DamagedCheckpoint, match=r"step 6 .*array params\.embed\.bias is not what was saved"):
        Checkpoints(copied_run / "checkpoints").restore(shapes(state), step=6)


def test_a_damaged_checkpoint_falls_back_and_the_run_goes_on(copied_run, whole_run, capsys):
    largest = max((copied_run / "checkpoints" / "6" / "params").rglob("d/*"), key=lambda path: path.stat().st_size)
    largest.unlink()
    again = toy_train(copied_run, quick(**LONG), ToyBatches())
    said = capsys.readouterr().err
    assert "checkpoint of step 6" in said and "is damaged" in said and "falling back" in said
    assert same_bits(again, whole_run[1])
    assert Checkpoints(copied_run / "checkpoints").steps() == [2, 4, 6]
    assert (copied_run / "checkpoints" / "damaged-6").is_dir()
    assert same_bits(Checkpoints(copied_run / "checkpoints").restore(shapes(again), step=6), again)
    lost = [json.loads(line) for line in (copied_run / "ledger.jsonl").read_text().splitlines() if "lost" in line]
    assert lost[0]["from_step"] == 4 and lost[0]["to_step"] == 6 and lost[0]["lost"] > 0


def test_when_all_are_damaged_it_says_so(copied_run, whole_run):
    for record in (copied_run / "checkpoints").glob("*/record/digests.json"):
        flip(record, 40)
    with pytest.raises(DamagedCheckpoint, match=r"digests\.json is damaged: .*; no other is whole"):
        Checkpoints(copied_run / "checkpoints").restore(shapes(whole_run[1]))


SAVE_AND_DIE = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp
from mmvideo.training.checkpoint.checkpoints import Checkpoints
from mmvideo.training.state import TrainState

checkpoints = Checkpoints(sys.argv[1])
def state(step):
    w = jnp.full((400, 500), step, jnp.float32)
    return TrainState(jnp.int32(step), {"w": w}, {}, {"m": w + 1}, None, jnp.int32(0), jnp.int32(0))
checkpoints.save(1, state(1), {"a": b"1"})
checkpoints.wait()
def die():
    time.sleep(float(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=die).start()
for step in range(2, 10_000):
    checkpoints.save(step, state(step), {"a": b"1"})
"""


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.11])
def test_a_kill_during_a_save_leaves_whole_checkpoints_only(tmp_path, delay):
    folder = tmp_path / "checkpoints"
    killed = subprocess.run([sys.executable, "-c", SAVE_AND_DIE, str(folder), str(delay)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    place = NamedSharding(toy_mesh(), PartitionSpec())
    checkpoints = Checkpoints(folder)
    assert checkpoints.steps()
    for step in checkpoints.steps():
        params = checkpoints.restore_params({"w": jax.ShapeDtypeStruct((400, 500), jnp.float32, sharding=place)}, step)
        np.testing.assert_array_equal(params["w"], step)
        assert checkpoints.assets(step) == {"a": b"1"}


def test_a_digest_does_not_know_how_an_array_lies():
    chance = np.random.default_rng(0)
    mesh = toy_mesh(2, 2, 2)
    for dtype in (np.float32, np.int32, np.uint8, np.bool_, jnp.bfloat16):
        array = chance.normal(size=(8, 4, 6)).astype(dtype)
        lying = [jax.device_put(array, NamedSharding(mesh, PartitionSpec(*axes))) for axes in ((), ("data", "fsdp"))]
        one = digests({"a": jnp.asarray(array), "b": lying[0], "c": lying[1]})
        assert len(set(one.values())) == 1


def test_a_digest_sees_every_bit_and_every_swap():
    words = np.arange(64, dtype=np.uint32)
    seen = {digests({"a": jnp.asarray(words)})["a"]}
    for place in (0, 1, 33, 63):
        for bit in (0, 15, 31):
            changed = words.copy()
            changed[place] ^= np.uint32(1 << bit)
            seen.add(digests({"a": jnp.asarray(changed)})["a"])
    swapped = words.copy()
    swapped[[3, 9]] = swapped[[9, 3]]
    seen.add(digests({"a": jnp.asarray(swapped)})["a"])
    assert len(seen) == 1 + 12 + 1
    # Two zeros of different sign are equal as numbers and differ as bits.
    assert digests({"a": jnp.zeros(3)}) != digests({"a": -jnp.zeros(3)})


def test_only_parts_worth_a_transfer_are_written_by_many_devices(tmp_path):
    """Of eight devices with the same arrays each writes a part of the large one, and one of them the small one."""
    same = NamedSharding(toy_mesh(data=8), PartitionSpec())
    large = jnp.arange(8 * SHARED // 4, dtype=jnp.float32).reshape(64, -1)
    params = jax.device_put({"large": large, "small": jnp.arange(1024.0).reshape(8, 128)}, same)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.export(1, params, {})
    with ocp.StandardCheckpointer() as reader:
        saved = reader.metadata(tmp_path / "1" / "params").item_metadata.tree
    written = {name: array.storage.chunk_shape for name, array in saved.items()}
    assert written == {"params.large": (8, large.shape[1]), "params.small": (8, 128)}
    assert same_bits(checkpoints.restore_params(shapes(params)), params)
