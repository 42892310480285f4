"""Audio shifted against the video: negative examples for alignment in time.

A clip that is long enough takes another stretch of its own audio (as Owens and Efros, arXiv 1804.03641, section 3).
The audio of a shorter clip is rolled: samples that leave at the end re-enter at the start, with a seam that a model
may hear. Either way, every sample is at least `Audio.shift` seconds from its original time. The epoch plan decides
which clips are shifted (`planning/`); loading draws the shift.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.input.config import Audio, Video
from mmvideo.input.transforms.crops import TemporalWindow, view_seconds


@dataclasses.dataclass(frozen=True)
class Shift:
    """Origin of the audio of a view.

    Attributes:
      start: start of the audio, in seconds from the start of the clip.
      roll: samples by which the audio is then rolled to later times; 0 for none.
    """

    start: float
    roll: int = 0


def shiftable(
    seconds: Float[np.ndarray, " n"],
    video_steps: Int[np.ndarray, " n"],
    samples: Int[np.ndarray, " n"],
    video: Video | None,
    audio: Audio | None,
) -> Bool[np.ndarray, " n"]:
    """Return whether the audio of each clip can be shifted: it has video and is long enough.

    Args:
      seconds: length of each clip.
      video_steps: tubelet steps of its video, 0 for none.
      samples: audio samples of its view, 0 for none.
      video, audio: settings of the modalities of the run.
    """
    if video is None or audio is None:
        return np.zeros(len(seconds), bool)
    room = seconds - view_seconds(seconds, video_steps, samples, video, audio)
    both = (video_steps > 0) & (samples > 0)
    # With twice the shift of free time, at least one start remains at any draw of the view, before or after it.
    return both & ((room >= 2 * audio.shift) | (samples >= 2 * _least(audio)))


def sample_shift(seconds: float, stretch: TemporalWindow, audio: Audio, rng: np.random.Generator) -> Shift:
    """Return the origin of the shifted audio of a shiftable clip, given its length and its view."""
    room = seconds - stretch.seconds
    if room < 2 * audio.shift:
        least = _least(audio)
        return Shift(stretch.start + stretch.heard, int(rng.integers(least, stretch.samples - least + 1)))
    # Draw from the starts in [0, room] that are at least `shift` from the view's own start. Example: room 5, start 3
    # and shift 1 leave [0, 2] and [4, 5], of total length 3; a draw of 2.5 is the start 4.5.
    before = max(stretch.start - audio.shift, 0.0)
    after = max(room - stretch.start - audio.shift, 0.0)
    start = rng.random() * (before + after)
    return Shift(start if start < before else stretch.start + audio.shift + (start - before))


def _least(audio: Audio) -> int:
    """Return the smallest number of samples by which audio is shifted."""
    return int(np.ceil(audio.shift * audio.hertz))
