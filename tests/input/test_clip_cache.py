"""Decoded views in memory change no bit of a batch, hold what they say, and keep to their limit."""

from __future__ import annotations

import dataclasses
import threading

import jax
import numpy as np
import pytest

from mmvideo.input.clip_cache import ClipCache
from mmvideo.input.config import Audio, Input, Masking, Mixing, ModalityDropout, Packing, Source, Video
from mmvideo.input.pipeline import Batches
from mmvideo.media.decode import Clip

VIDEO = Video(fps=4.0, frames=8, size=48, tubelet=(2, 16, 16), flip=True, colour=0.3, erase=0.5)


def config(shapes, **changed) -> Input:
    """Views of 2 s of clips of 1.6 to 2.4 s: about half of them have the same view in every epoch."""
    plain = Input(
        sources=(Source(str(shapes)),), video=VIDEO, audio=Audio(seconds=2.0), masking=Masking(video=0.5),
        modality_dropout=ModalityDropout(drop={"video": 0.2, "audio": 0.2}),
        packing=Packing(rows=4, tokens=160, clips=3), threads=2,
    )  # fmt: skip
    return dataclasses.replace(plain, **changed)


def epochs(batches: Batches, count: int) -> list:
    return [stream for _, stream in batches.iterate(0, count * batches.steps_per_epoch)]


def same(one, other) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)


@pytest.mark.parametrize("mixing", [Mixing(), Mixing(mixup=0.8, cutmix=1.0)])
def test_batches_are_the_same_to_the_bit(shapes, mixing):
    kept = Batches(config(shapes, mixing=mixing))
    bare = Batches(config(shapes, mixing=mixing, memory=0))
    assert kept.remembered and bare.remembered is None
    found = epochs(kept, 2)
    assert same(found, epochs(bare, 2))
    # The same holds for an epoch that is read a second time, all of it from memory.
    steps = kept.steps_per_epoch
    assert same(found[:steps], epochs(kept, 1))
    # Each epoch draws anew: the frames of a clip aren't those of the epoch before.
    assert not any(same(a.content["video"], b.content["video"]) for a, b in zip(found, found[steps:], strict=False))


def test_the_bytes_that_are_said_are_those_that_are_held(shapes):
    batches = Batches(config(shapes, modality_dropout=ModalityDropout()))
    said = batches.remembered
    epochs(batches, 1)
    reader = batches._loader._reader
    assert 10 < reader._cache.clips < 30  # Of 40: those up to 2 s.
    assert reader._cache.clips == reader._lasting.sum()
    assert reader._cache.bytes == reader._decoded
    assert f"up to {reader._cache.clips} of 40 clips" in said and f"({reader._decoded / 2**20:.0f} MiB" in said


@pytest.mark.parametrize(
    "changed",
    [
        {"memory": 10_000},
        {"video": dataclasses.replace(VIDEO, crop_scale=0.5)},
        {"video": dataclasses.replace(VIDEO, sampling="uniform")},
        {"video": dataclasses.replace(VIDEO, frames=4), "audio": Audio(seconds=1.0)},
    ],
    ids=["too large", "drawn scale", "drawn instants", "room to begin later"],
)
def test_what_does_not_fit_or_come_again_is_not_kept(shapes, changed):
    assert Batches(config(shapes, **changed)).remembered is None


def test_an_evaluation_keeps_nothing(shapes):
    assert Batches(config(shapes), train=False).remembered is None


def test_a_limit_holds_with_many_threads():
    clip = Clip(np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2), np.zeros(100, np.float32), 16000, 1.0)
    size = clip.frames.nbytes + clip.samples.nbytes
    cache = ClipCache(10 * size)

    def fill(first: int) -> None:
        for key in range(first, first + 50):
            cache.put(key, dataclasses.replace(clip, frames=clip.frames.copy(), samples=clip.samples.copy()))

    threads = [threading.Thread(target=fill, args=(first,)) for first in range(0, 80, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.clips == 10 and cache.bytes == 10 * size
    kept = [cache.get(key) for key in range(130)]
    assert sum(one is not None for one in kept) == 10
    with pytest.raises(ValueError, match="read-only"):
        next(one for one in kept if one is not None).frames[:] = 1
