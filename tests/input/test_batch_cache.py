"""Batches that are kept: those that were made, whoever made them, and told apart by all that decides them."""

from __future__ import annotations

import dataclasses
import io
import json

import jax
import numpy as np
import pytest

from mmvideo.input.batch_cache import BatchCache
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches

SMALL = Input(
    sources=(Source("samples:film"),),
    video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16), crop_scale=0.6),
    audio=Audio(seconds=1.0),
    text=Text(vocabulary=200),
    masking=Masking(video=0.5),
    packing=Packing(rows=4, tokens=96, clips=4),
    threads=1,
)


def equal(a, b):
    return all(jax.tree.leaves(jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)))


@pytest.fixture(scope="module")
def plain():
    return dict(Batches(SMALL).iterate(0, 4))


@pytest.fixture
def kept(tmp_path):
    return dataclasses.replace(SMALL, keep=str(tmp_path))


def test_what_is_kept_is_what_is_made_and_is_not_made_again(plain, kept, tmp_path, monkeypatch):
    first = dict(Batches(kept).iterate(1, 3))
    assert all(equal(first[step], plain[step]) for step in (1, 2))
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.glob("*.npz")) == ["1.npz", "2.npz"]
    asked = []
    batches = Batches(dataclasses.replace(kept, threads=2))
    monkeypatch.setattr(batches, "_make", lambda *span, real=batches._make: asked.append(span) or real(*span))
    again = dict(batches.iterate(0, 4))
    assert asked == [(0, 1), (3, 4)]
    assert again.keys() == plain.keys() and all(equal(again[step], plain[step]) for step in plain)


def test_a_damaged_file_is_made_again(plain, kept, tmp_path, caplog):
    """Cut short, bytes changed anywhere, other content that NumPy reads: whatever is wrong."""
    list(Batches(kept).iterate(0, 1))
    (path,) = tmp_path.glob("*/0.npz")
    whole = path.read_bytes()
    damages = [whole[:1000], b"", b"words", _archive(path, note=None), _archive(path, step=1), _archive(path, key="x")]
    damages.append(_archive(path, change=True))
    for place in np.random.default_rng(0).integers(0, len(whole), 25):
        damages.append(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
    reader = BatchCache(path.parent, lambda: plain[0])
    told = 0
    for damage in damages:
        path.write_bytes(damage)
        found = reader._read(0)
        # Some bytes of an archive mean nothing, such as times of change: what is read is right or isn't taken.
        assert found is None or equal(found, plain[0])
        told += found is None
    assert told >= len(damages) - 3 and caplog.text.count("is made again") == told
    path.write_bytes(damages[6])
    assert equal(dict(Batches(kept).iterate(0, 1))[0], plain[0])
    assert equal(BatchCache(path.parent, lambda: plain[0])._read(0), plain[0])


def _archive(path, change=False, **note) -> bytes:
    """The file with another note, or with one element changed and every checksum right."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    told = json.loads(arrays.pop("note").tobytes())
    if change:
        name = next(name for name, array in arrays.items() if array.size)
        arrays[name].reshape(-1)[0] += 1
    told |= note
    if note != {"note": None}:
        arrays["note"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def test_a_file_of_another_step_or_key_is_not_taken_for_this_one(plain, kept, tmp_path):
    list(Batches(kept).iterate(0, 3))
    (folder,) = tmp_path.iterdir()
    (folder / "0.npz").rename(folder / "swap")
    (folder / "1.npz").rename(folder / "0.npz")
    (folder / "swap").rename(folder / "1.npz")
    found = dict(Batches(kept).iterate(0, 3))
    assert all(equal(found[step], plain[step]) for step in range(3))
    other = dataclasses.replace(kept, seed=1)
    list(Batches(other).iterate(0, 1))
    (foreign,) = (path for path in tmp_path.iterdir() if path != folder)
    (folder / "2.npz").write_bytes((foreign / "0.npz").read_bytes())
    assert equal(dict(Batches(kept).iterate(2, 3))[2], plain[2])


@pytest.mark.parametrize(
    "other",
    [dict(seed=1), dict(masking=Masking(video=0.75)), dict(sources=(Source("samples:film", "test"),))],
    ids=["seed", "masks", "split"],
)
def test_other_settings_have_another_place(kept, tmp_path, other):
    for config in (kept, dataclasses.replace(kept, **other)):
        list(Batches(config).iterate(0, 1))
    list(Batches(kept, masked=False).iterate(0, 1))
    list(Batches(kept, process_index=1, process_count=2).iterate(0, 1))
    assert len(list(tmp_path.iterdir())) == 4


def test_clips_that_gave_nothing_are_told_again(kept):
    batches = Batches(kept)
    batches._skipped.add("one", "it is no video")
    # A run that is killed after its first batch has told of it.
    next(batches.iterate(0, 2))
    assert ("one", "it is no video") in Batches(kept).skipped


def test_where_that_is_damaged_the_batches_are_made_again(kept, tmp_path, caplog):
    batches = Batches(kept)
    batches._skipped.add("one", "it is no video")
    list(batches.iterate(0, 2))
    (path,) = tmp_path.glob("*/skipped.json")
    path.write_text(path.read_text().replace("no video", "my video"))
    again = Batches(kept)
    assert not list(tmp_path.glob("*/*.npz")) and ("one", "it is my video") not in again.skipped
    assert "skipped.json: isn't what was kept" in caplog.text


def test_a_full_disk_ends_the_keeping_and_not_the_run(plain, kept, tmp_path, caplog, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    found = dict(Batches(kept).iterate(0, 2))
    assert all(equal(found[step], plain[step]) for step in range(2))
    assert caplog.text.count("no more batches are kept there (OSError: [Errno 28] No space left on device)") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
