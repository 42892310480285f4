"""Events of a clip as one text with time tokens, as in Vid2Seq.

A clip of `seconds` is divided by `bins` equally spaced moments, from its start to its end, with the tokens `<t=0>`,
`<t=1>`, … for a clip of any length (Yang et al. 2023, section 3.1). An event is two of them and a sentence; events are
sorted by start:

    <t=0><t=21> a dog runs <t=20><t=99> it barks
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mmvideo.media.text import time_token

BINS = 100
"""Number of moments of a clip (Yang et al. 2023, section 3.1)."""

_TOKEN = re.compile(r"<t=([0-9]{1,9})>")


class Event(NamedTuple):
    """Event from `start` to `end`, both in seconds from the start of the clip."""

    start: float
    end: float
    caption: str


def write_events(events: Iterable[tuple[float, float, str]], seconds: float, bins: int = BINS) -> str:
    """Return the text of a clip's events, sorted by start, then end.

    A time becomes the nearest of the `bins` moments; an event shorter than their distance gets two neighbouring
    moments. Time tokens and surplus spaces within a caption are removed.

    Args:
      events: start and end in seconds from the start of the clip, and caption.
      seconds: length of the clip.
      bins: number of moments of a clip.

    Raises:
      ValueError: a clip has no length, there are fewer than two moments, or an event ends before it starts, lies
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
        # 100 moments of a clip of 10 s: 2.1 s is moment round(2.1 * 99 / 10) = 21.
        first, last = (round(moment * (bins - 1) / seconds) for moment in (start, end))
        # Neighbours for a short event: (21, 21) becomes (21, 22), and at the end (99, 99) becomes (98, 99).
        if first == last:
            first, last = (first, first + 1) if first < bins - 1 else (first - 1, first)
        parts.append(f"{time_token(first)}{time_token(last)} {words}")
    return " ".join(parts)


def read_events(text: str, seconds: float, bins: int = BINS) -> list[Event]:
    """Return the events in a text, in its order; any other text is ignored.

    An event is two time tokens followed by words, with the second token later than the first. Of more than two tokens
    in a row the last two count. Words after a single token, before the first token, or after moments that do not exist
    or are not in order are no event.

    Args:
      text: text, possibly written by a model.
      seconds: length of the clip.
      bins: number of moments of a clip.

    Raises:
      ValueError: a clip has no length, or there are fewer than two moments.
    """
    _check(seconds, bins)
    # Words and numbers alternate: number i is between words i and i + 1. `<t=0><t=21> a dog` gives the words
    # ["", "", "a dog"] and the moments [0, 21].
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
