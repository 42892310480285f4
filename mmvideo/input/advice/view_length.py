"""Choice of the length of a view in seconds."""

from __future__ import annotations

import numpy as np

from mmvideo.input.advice.choice import Choice, Situation, spread
from mmvideo.input.mixture import CorpusMixture

LONGEST = 8.0
"""Longest view in seconds; each epoch shows another stretch of a longer clip."""

COVERED = 0.9
"""Share of the clips that a view holds completely."""


def view_seconds(corpus: CorpusMixture) -> float:
    """Return the seconds of a view: the length that nine of ten clips do not exceed, at most `LONGEST`."""
    seconds = np.quantile(_lengths(corpus), COVERED)
    return float(min(max(np.ceil(seconds * 10 - 1e-6) / 10, 0.1), LONGEST))


def choose_seconds(now: Situation) -> Choice | None:
    """Choose `audio.seconds`: the length of the video if the user set it, else the seconds of a view."""
    if now.input.audio is None:
        return None
    video = now.input.video
    if video is not None and any(now.has_given(f"video.{field}") for field in ("frames", "fps")):
        return Choice(round(video.frames / video.fps, 3), "as long as the frames that were asked for")
    return Choice(view_seconds(now.corpus), why_seconds(now.corpus))


def why_seconds(corpus: CorpusMixture) -> str:
    """Return the reason for the seconds of a view."""
    lengths, view = _lengths(corpus), view_seconds(corpus)
    whole = float(np.mean(lengths <= view + 1e-6))
    words = f"clips last {spread(lengths, 's')}"
    if whole >= COVERED:
        return f"{words}: a view of {view:g} s holds {whole:.0%} of them whole"
    return f"{words}: a view is at most {LONGEST:g} s, another stretch each epoch"


def _lengths(corpus: CorpusMixture) -> np.ndarray:
    """Return the seconds of the clips that have video or audio."""
    return corpus.seconds[corpus.has_video | corpus.has_audio]
