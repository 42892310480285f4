"""Choice of frames, frame rate, frame size and tubelets."""

from __future__ import annotations

import numpy as np

from mmvideo.input.advice.choice import Choice, Situation, spread
from mmvideo.input.advice.view_length import view_seconds, why_seconds

LARGEST = 64
"""Largest side in pixels, which two cores train on in minutes; set a larger one for an accelerator."""

SMALLEST = 16

FINE = 64
"""Smallest side in pixels with patches of 16 pixels; smaller sides have patches of 8."""

RATE, SLOW = 8.0, 4.0
"""Largest frames per second, and the same for views longer than `BRIEF`."""

BRIEF = 4.0
"""Longest view in seconds with the frame rate `RATE`."""

FEW = 16
"""Largest number of frames with two frames in a tubelet; more frames have four."""


def choose_video(now: Situation) -> Choice | None:
    """Choose `video`: None if no clip has video."""
    if now.input.video is None or now.corpus.has_video.any():
        return None
    return Choice(None, "no clip has video")


def choose_size(now: Situation) -> Choice | None:
    """Choose `video.size`: the shorter side of all but the smallest quarter of the clips, in whole patches."""
    if now.input.video is None:
        return None
    has = now.corpus.has_video
    short = np.minimum(now.corpus.width, now.corpus.height)[has]
    side = int(min(np.quantile(short, 0.25), LARGEST))
    patch = max(now.input.video.tubelet[1:]) if now.has_given("video.tubelet") else 16 if side >= FINE else 8
    size = max(side // patch * patch, patch if now.has_given("video.tubelet") else SMALLEST)
    why = f"the shorter side has {spread(short, 'pixels', 0)}"
    return Choice(size, f"{why}; more than {LARGEST} is slow without an accelerator" if size == LARGEST else why)


def choose_tubelet(now: Situation) -> Choice | None:
    """Choose `video.tubelet`: a grid of 2 to 8 patches a side, and two to four frames, that divide the user's
    settings."""
    video = now.input.video
    if video is None:
        return None
    patch = 16 if video.size >= FINE else 8
    patch = next(side for side in range(patch, 0, -1) if video.size % side == 0)
    frames = video.frames if now.has_given("video.frames") else _frames(now)
    length = min(2 if frames <= FEW else 4, frames)
    if now.has_given("video.frames"):
        length = next(side for side in range(length, 0, -1) if frames % side == 0)
    cells = video.size // patch
    return Choice((length, patch, patch), f"{cells} x {cells} patches, {max(frames // length, 1)} steps of time")


def choose_rate(now: Situation) -> Choice | None:
    """Choose `video.fps`: the rate of the clips, at most 8, or 4 for long views."""
    if now.input.video is None:
        return None
    return Choice(*_rate(now))


def choose_frames(now: Situation) -> Choice | None:
    """Choose `video.frames`: the frames of a view at the chosen rate, in whole tubelets."""
    if now.input.video is None:
        return None
    length = now.input.video.tubelet[0]
    return Choice(max(_frames(now) // length, 1) * length, why_seconds(now.corpus))


def _rate(now: Situation) -> tuple[float, str]:
    own = now.corpus.fps[now.corpus.has_video]
    own = own[own > 0]
    bound = RATE if view_seconds(now.corpus) <= BRIEF else SLOW
    if not len(own):
        return bound, "the clips tell no rate"
    middle = round(float(np.median(own)), 3)
    return min(bound, middle), f"clips have {spread(own, 'frames a second')}" + (
        f", {bound:g} are enough for a view of {view_seconds(now.corpus):g} s" if middle > bound else ""
    )


def _frames(now: Situation) -> int:
    """Return the frames of a view."""
    rate = now.input.video.fps if now.has_given("video.fps") else _rate(now)[0]
    return max(int(view_seconds(now.corpus) * rate + 1e-6), 1)
