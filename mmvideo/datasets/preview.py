"""A few clips of a corpus, read and decoded as training does it, to see whether it can."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from mmvideo.datasets.corpus import Corpus
from mmvideo.media.decode import decode


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a few clips gave.

    Attributes:
      clips: how many were read.
      unreadable: id and reason of those that could not be.
      truncated: ids of those whose file ends early or is damaged.
      seconds: that reading and decoding them took, one after another.
      stretch: seconds of them that were decoded, in all.
    """

    clips: int
    unreadable: list[tuple[str, str]]
    truncated: list[str]
    seconds: float
    stretch: float


def read_sample(corpus: Corpus, clips: int = 8, longest: float = 4.0, seed: int = 0) -> Sample:
    """Decodes the first clip, the last and some between that have picture or sound, all of their first seconds.

    Args:
      corpus: the clips.
      clips: how many at most.
      longest: seconds of each that are decoded.
      seed: of the draw.
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
        # ArrayRecord raises RuntimeError where a shard is rotten.
        except (RuntimeError, ValueError, OSError, FFmpegError) as error:
            unreadable.append((str(table.id[row]), " ".join(str(error).split())))
            continue
        stretch += end
        if clip.truncated:
            truncated.append(str(table.id[row]))
    return Sample(len(rows), unreadable, truncated, time.perf_counter() - start, stretch)


def _places(count: int, most: int, seed: int) -> list[int]:
    """The first, the last, and others at random."""
    if count <= most:
        return list(range(count))
    between = 1 + np.random.default_rng(seed).permutation(count - 2)[: most - 2]
    return [0, *sorted(between.tolist()), count - 1]
