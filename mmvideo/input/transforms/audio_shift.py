"""Sound that is shifted against the picture: examples of what does not belong together in time.

A clip that lasts long enough takes another stretch of its own sound (as Owens and Efros, arXiv
1804.03641, section 3); another's sound is turned round: what runs out at the end comes in at the start,
with a seam that a model may hear. Either way every sample is at least `Audio.shift` seconds from
its place. Which clips are shifted is planned (`planning/`); by how much is drawn when the clip is loaded.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.input.config import Audio, Video
from mmvideo.input.transforms.crops import TemporalWindow, view_seconds


@dataclasses.dataclass(frozen=True)
class Shift:
    """Where the sound of a view comes from.

    Attributes:
      start: seconds after the start of the clip at which it begins.
      roll: samples by which it is then turned round, later; 0 for not at all.
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
    """Whether the sound of each clip can be shifted: it has pictures, and lasts long enough.

    Args:
      seconds: length of each clip.
      video_steps: tubelet steps of its pictures, 0 for none.
      samples: samples of the sound of its view, 0 for none.
      video, audio: settings of the modalities of the run.
    """
    if video is None or audio is None:
        return np.zeros(len(seconds), bool)
    room = seconds - view_seconds(seconds, video_steps, samples, video, audio)
    both = (video_steps > 0) & (samples > 0)
    return both & ((room >= 2 * audio.shift) | (samples >= 2 * _least(audio)))


def sample_shift(seconds: float, stretch: TemporalWindow, audio: Audio, rng: np.random.Generator) -> Shift:
    """Where the sound of a clip of so many seconds, whose view is given and which is shiftable, comes from."""
    room = seconds - stretch.seconds
    if room < 2 * audio.shift:
        least = _least(audio)
        return Shift(stretch.start + stretch.heard, int(rng.integers(least, stretch.samples - least + 1)))
    # Starts from 0 to `room`, but for those nearer than `shift` to the view's own.
    before = max(stretch.start - audio.shift, 0.0)
    after = max(room - stretch.start - audio.shift, 0.0)
    start = rng.random() * (before + after)
    return Shift(start if start < before else stretch.start + audio.shift + (start - before))


def _least(audio: Audio) -> int:
    """The fewest samples by which sound is shifted."""
    return int(np.ceil(audio.shift * audio.hertz))
