"""Cache of decoded views in memory, for clips whose view is the same in every epoch.

A view is usually drawn each time: its start, and the scale of its crop. If a clip is no longer than its view, and the
run always crops the largest square, nothing in decoding is random, so frames and samples are decoded once: with views
of 2 s, a clip of 1.8 s starts at 0 in every epoch. Draws after decoding (position of the crop, flips, colours, masks,
captions) are made as usual, so batches are the same to the bit.
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
    """Decoded views by key, up to a limit in bytes; safe to use from many threads.

    Args:
      limit: largest size of all frames and samples in bytes; views beyond it are not stored.

    Attributes:
      clips, bytes: number and size of the stored views.
    """

    def __init__(self, limit: int):
        self._limit, self._lock = limit, threading.Lock()
        self._kept: dict[Hashable, Any] = {}
        self.clips, self.bytes = 0, 0

    def get(self, key: Hashable) -> Any | None:
        """Return the view of a key, or None if it is not stored."""
        return self._kept.get(key)

    def put(self, key: Hashable, clip: Any) -> None:
        """Store a view, and make its arrays read-only; a view that does not fit is not stored."""
        arrays = [array for array in (clip.frames, clip.samples) if array is not None]
        size = sum(array.nbytes for array in arrays)
        with self._lock:
            if key in self._kept or self.bytes + size > self._limit:
                return
            for array in arrays:
                # Augmentations copy; one that changed a shared array would raise here instead of altering later epochs.
                array.flags.writeable = False
            self._kept[key] = clip
            self.clips, self.bytes = len(self._kept), self.bytes + size


def lasting(mixture: CorpusMixture, sizes: TokenCounts, config: Input) -> Bool[np.ndarray, " n"]:
    """Return a mask of the clips with the same view in every epoch: it fills the clip, and no scale is drawn."""
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
    # A frame of 320 x 240 for views of 120 pixels is kept as 160 x 120, 57,600 bytes: the crop comes after decoding.
    pixels = [int(np.prod(sample_crop(int(w), int(h), config.video, None).size)) for w, h in shapes]
    return total + 3 * int((frames * np.array(pixels, np.int64)[places.reshape(-1)]).sum())


def _samples(mixture: CorpusMixture, sizes: TokenCounts, config: Input) -> np.ndarray:
    """Return the samples of the view of each clip, 0 if it has no audio."""
    if config.audio is None:
        return np.zeros(len(mixture), np.int64)
    return np.where(sizes.audio_steps > 0, samples(mixture.seconds, config.audio), 0)
