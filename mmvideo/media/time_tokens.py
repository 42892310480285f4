"""Events of a clip as one text: moments are pieces of their own, as Vid2Seq has them.

A clip of `seconds` is cut by `bins` equally spaced moments, from its start to its end, which the pieces `<t=0>`,
`<t=1>`, … name whatever the clip's length (Yang et al. 2023, section 3.1). An event is two of them and a sentence;
events follow each other by start:

    <t=0><t=21> a dog runs <t=20><t=99> it barks
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mmvideo.media.text import time_token

BINS = 100
"""Moments of a clip (Yang et al. 2023, section 3.1)."""

_TOKEN = re.compile(r"<t=([0-9]{1,9})>")


class Event(NamedTuple):
    """What happens from `start` to `end`, both in seconds after the start of the clip."""

    start: float
    end: float
    caption: str


def write_events(events: Iterable[tuple[float, float, str]], seconds: float, bins: int = BINS) -> str:
    """The text of a clip's events, sorted by start, then end.

    A moment becomes the nearest of the `bins`; an event shorter than the way between two of them takes two
    neighbours. Time tokens within a caption are taken out, as are surplus spaces.

    Args:
      events: start and end in seconds after the start of the clip, and caption.
      seconds: length of the clip.
      bins: moments of a clip.

    Raises:
      ValueError: a clip without length, fewer than two moments, or an event that ends before it starts, lies
        outside the clip or has no caption.
    """
    _check(seconds, bins)
    parts = []
    for start, end, caption in sorted(events, key=lambda event: (event[0], event[1])):
        words = " ".join(_TOKEN.sub(" ", caption).split())
        if not 0 <= start <= end <= seconds or not words:
            raise ValueError(
                f"event {start}-{end} {caption!r} needs a caption and 0 <= start <= end <= {seconds}, the clip's length"
            )
        first, last = (round(moment * (bins - 1) / seconds) for moment in (start, end))
        if first == last:
            first, last = (first, first + 1) if first < bins - 1 else (first - 1, first)
        parts.append(f"{time_token(first)}{time_token(last)} {words}")
    return " ".join(parts)


def read_events(text: str, seconds: float, bins: int = BINS) -> list[Event]:
    """The events that a text tells of, in its order; whatever else stands in it is passed over.

    An event is two time tokens with words behind them, of which the second is the later. Of more than two
    tokens in a row the last two count; words behind a single one, before the first, or behind moments that
    don't exist or don't follow each other tell of no event.

    Args:
      text: as a model may have written it.
      seconds: length of the clip.
      bins: moments of a clip.

    Raises:
      ValueError: a clip without length, or fewer than two moments.
    """
    _check(seconds, bins)
    # Words and numbers in turn: number `i` stands between words `i` and words `i + 1`.
    parts = _TOKEN.split(text)
    words = [" ".join(part.split()) for part in parts[::2]]
    moments = [int(number) for number in parts[1::2]]
    events = []
    for place in range(1, len(moments)):
        first, last = moments[place - 1 : place + 1]
        if first < last < bins and not words[place] and words[place + 1]:
            events.append(Event(first * seconds / (bins - 1), last * seconds / (bins - 1), words[place + 1]))
    return events


def _check(seconds: float, bins: int) -> None:
    if not seconds > 0 or bins < 2:
        raise ValueError(f"a clip of {seconds} seconds with {bins} moments: needs more than 0, and 2 or more")
