"""Test of a corpus: a few clips are read and decoded as in training."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from mmvideo.datasets.corpus import Corpus
from mmvideo.media.decode import decode


@dataclasses.dataclass(frozen=True)
class Sample:
    """Result of reading a few clips.

    Attributes:
      clips: number of clips read.
      unreadable: id and reason of the unreadable ones.
      truncated: ids of those whose file ends early or is damaged.
      seconds: time of reading and decoding them one after another, in seconds.
      stretch: total length of the decoded media, in seconds.
    """

    clips: int
    unreadable: list[tuple[str, str]]
    truncated: list[str]
    seconds: float
    stretch: float


def read_sample(corpus: Corpus, clips: int = 8, longest: float = 4.0, seed: int = 0) -> Sample:
    """Decode the first seconds of the first clip, the last clip and some between that have video or audio.

    Args:
      corpus: the clips.
      clips: largest number of clips.
      longest: longest decoded part of each, in seconds.
      seed: seed of the draw.
    """
    from av.error import FFmpegError

    unreadable, truncated, stretch, table = [], [], 0.0, corpus.table
    there = np.flatnonzero(table.has_video | table.has_audio)
    rows = there[_places(len(there), clips, seed)]
    start = time.perf_counter()
    for row in rows.tolist():
        end = min(longest, float(table.seconds[row]))
        video, audio = bool(table.has_video[row]), bool(table.has_audio[row])
        try:
            record = corpus[row]
            clip = decode(record.media, end=end, video=video, audio=audio, **record.pictures)
        # ArrayRecord raises RuntimeError for a damaged shard.
        except (RuntimeError, ValueError, OSError, FFmpegError) as error:
            unreadable.append((str(table.id[row]), " ".join(str(error).split())))
            continue
        stretch += end
        if clip.truncated:
            truncated.append(str(table.id[row]))
    return Sample(len(rows), unreadable, truncated, time.perf_counter() - start, stretch)


def _places(count: int, most: int, seed: int) -> list[int]:
    """Return the first index, the last, and random ones between."""
    if count <= most:
        return list(range(count))
    # 8 of 100 clips: 0, 99 and 6 different ones from 1 to 98.
    between = 1 + np.random.default_rng(seed).permutation(count - 2)[: most - 2]
    return [0, *sorted(between.tolist()), count - 1]
