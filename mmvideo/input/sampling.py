"""The view of a clip: which stretch of time and which square of the picture.

Pictures and sound share one stretch. Training draws it, and the square, at random; evaluation takes
the middle of both.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Audio, Video


@dataclasses.dataclass(frozen=True)
class Square:
    """How a picture is scaled and which part of it is kept.

    Attributes:
      size: height and width in pixels to which the whole picture is scaled.
      corner: row and column of the first pixel that is kept.
    """

    size: tuple[int, int]
    corner: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Stretch:
    """The stretch of time of a view.

    Attributes:
      start: seconds after the start of the clip.
      seconds: how long it is.
      times: when each frame is sampled, in seconds after `start`: the middle of its share of time.
      samples: audio samples from `start` on.
    """

    start: float
    seconds: float
    times: Float[np.ndarray, " t"]
    samples: int


def draw_stretch(
    seconds: float,
    steps: int,
    samples: int,
    video: Video | None,
    audio: Audio | None,
    rng: np.random.Generator | None,
) -> Stretch:
    """The stretch of a clip of so many seconds.

    Args:
      seconds: length of the clip.
      steps: tubelet steps of its pictures, 0 for none.
      samples: audio samples of its sound, 0 for none.
      video, audio: settings of the modalities that it has.
      rng: draws the start; None takes the middle of the clip.
    """
    frames = steps * video.tubelet[0] if video else 0
    length = float(view_seconds(np.array(steps), np.array(samples), video, audio))
    room = max(seconds - length, 0.0)
    start = room * (0.5 if rng is None else rng.random())
    times = (np.arange(frames) + 0.5) / video.fps if video else np.zeros(0)
    return Stretch(start, length, times, samples)


def view_seconds(
    steps: Int[np.ndarray, "*n"], samples: Int[np.ndarray, "*n"], video: Video | None, audio: Audio | None
) -> Float[np.ndarray, "*n"]:
    """How long views of so many tubelet steps and samples last: as long as the longer of the two."""
    pictures = steps * video.tubelet[0] / video.fps if video else np.zeros(steps.shape)
    sound = samples / audio.hertz if audio else np.zeros(samples.shape)
    return np.asarray(np.maximum(pictures, sound))


def draw_square(width: int, height: int, video: Video, rng: np.random.Generator | None) -> Square:
    """The square of a picture of `width` and `height` pixels.

    The whole picture is scaled so that the square's side is `video.size`; so the square is cut out
    without another resize.

    Args:
      width, height: of the upright picture.
      video: `size`, and `crop_scale`, the smallest share of the largest square's area.
      rng: draws scale and place; None takes the largest square in the middle.
    """
    share = 1.0
    if rng is not None and video.crop_scale < 1:
        share = rng.uniform(video.crop_scale, 1.0)
    factor = video.size / (min(width, height) * np.sqrt(share))
    scaled = (max(video.size, round(height * factor)), max(video.size, round(width * factor)))
    room = [side - video.size for side in scaled]
    corner = [r // 2 for r in room] if rng is None else [int(rng.integers(0, r + 1)) for r in room]
    return Square(scaled, (corner[0], corner[1]))
