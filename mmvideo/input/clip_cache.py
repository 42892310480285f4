"""Decoded views kept in memory, for clips whose view is the same in every epoch.

A view is drawn anew each time a clip comes: where it starts, and how close it is cut. Of a clip that is no longer than
its view, in a run that cuts no closer than the largest square, nothing of that is left to chance, and its frames and
samples are decoded once: with views of 2 s, a clip of 1.8 s begins at 0 in every epoch. What is drawn after decoding
(where the square is cut out, flips, colours, masks, captions) is drawn as ever, so batches are the same to the bit.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any

import numpy as np
from jaxtyping import Bool

from mmvideo.input.config import Input
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning.token_counts import TokenCounts, samples
from mmvideo.input.transforms.crops import sample_crop, view_seconds


class ClipCache:
    """Decoded views by key, up to a number of bytes; safe to use from many threads.

    Args:
      limit: bytes of frames and samples that are kept at most; what comes later is not.

    Attributes:
      clips, bytes: how much there is.
    """

    def __init__(self, limit: int):
        self._limit, self._lock = limit, threading.Lock()
        self._kept: dict[Hashable, Any] = {}
        self.clips, self.bytes = 0, 0

    def get(self, key: Hashable) -> Any | None:
        """Return the view of a key, None where it isn't kept."""
        return self._kept.get(key)

    def put(self, key: Hashable, clip: Any) -> None:
        """Keep a view, of which from here on nobody may change an array; where it doesn't fit, nothing happens."""
        arrays = [array for array in (clip.frames, clip.samples) if array is not None]
        size = sum(array.nbytes for array in arrays)
        with self._lock:
            if key in self._kept or self.bytes + size > self._limit:
                return
            for array in arrays:
                array.flags.writeable = False
            self._kept[key] = clip
            self.clips, self.bytes = len(self._kept), self.bytes + size


def lasting(mixture: CorpusMixture, sizes: TokenCounts, config: Input) -> Bool[np.ndarray, " n"]:
    """Return a mask of the clips whose view is the same in every epoch: it fills the clip, and no scale is drawn."""
    video, audio = config.video, config.audio
    if video is not None and (video.sampling == "uniform" or video.crop_scale < 1 or video.crop_aspect != (1.0, 1.0)):
        return np.zeros(len(mixture), bool)
    heard = _samples(mixture, sizes, config)
    length = view_seconds(mixture.seconds, sizes.video_steps, heard, video, audio)
    return (length >= mixture.seconds) & ((sizes.video_steps > 0) | (heard > 0))


def decoded_bytes(mixture: CorpusMixture, sizes: TokenCounts, config: Input, which: Bool[np.ndarray, " n"]) -> int:
    """Return the bytes of the decoded views of some clips: RGB frames, scaled to the view, and float32 samples."""
    total = 4 * int(_samples(mixture, sizes, config)[which].sum())
    if config.video is None:
        return total
    shown = which & (sizes.video_steps > 0)
    frames = sizes.video_steps[shown] * config.video.tubelet[0]
    shapes, places = np.unique(
        np.stack([mixture.width[shown], mixture.height[shown]], axis=1), axis=0, return_inverse=True
    )
    pixels = [int(np.prod(sample_crop(int(w), int(h), config.video, None).size)) for w, h in shapes]
    return total + 3 * int((frames * np.array(pixels, np.int64)[places.reshape(-1)]).sum())


def _samples(mixture: CorpusMixture, sizes: TokenCounts, config: Input) -> np.ndarray:
    """Samples of the view of each clip, 0 where it has no audio."""
    if config.audio is None:
        return np.zeros(len(mixture), np.int64)
    return np.where(sizes.audio_steps > 0, samples(mixture.seconds, config.audio), 0)
