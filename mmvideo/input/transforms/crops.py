"""The view of a clip: which stretch of time and which square of the picture.

Pictures and sound share one stretch. Training draws it, and the square, at random; evaluation takes
the middle of both, or several views (`views`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Audio, Video, Views
from mmvideo.input.transforms.eval_views import begin, crop_place, phase


@dataclasses.dataclass(frozen=True)
class SpatialCrop:
    """How a picture is scaled and which part of it is kept.

    Attributes:
      size: height and width in pixels to which the whole picture is scaled.
      corner: row and column of the first pixel that is kept.
    """

    size: tuple[int, int]
    corner: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class TemporalWindow:
    """The stretch of time of a view.

    Attributes:
      start: seconds after the start of the clip.
      seconds: how long it is.
      times: when each frame is sampled, in seconds after `start`: the middle of its share of time, or, in uniform
        sampling, an instant of it.
      samples: audio samples.
      heard: when the sound begins, in seconds after `start`.
    """

    start: float
    seconds: float
    times: Float[np.ndarray, " t"]
    samples: int
    heard: float = 0.0


def sample_window(
    seconds: float,
    steps: int,
    samples: int,
    video: Video | None,
    audio: Audio | None,
    rng: np.random.Generator | None,
    views: Views = Views(),
    view: int = 0,
) -> TemporalWindow:
    """The stretch of a clip of so many seconds.

    Args:
      seconds: length of the clip.
      steps: tubelet steps of its pictures, 0 for none.
      samples: audio samples of its sound, 0 for none.
      video, audio: settings of the modalities that it has.
      rng: draws the start; None takes that of the view.
      views: those of an evaluation.
      view: which of them.
    """
    frames = steps * video.tubelet[0] if video else 0
    if video and video.sampling == "uniform":
        return _whole(seconds, frames, samples, audio, phase(view, views) if rng is None else rng.random(frames))
    length = float(view_seconds(np.array(seconds), np.array(steps), np.array(samples), video, audio))
    room = max(seconds - length, 0.0)
    start = begin(room, view, views) if rng is None else room * rng.random()
    times = (np.arange(frames) + 0.5) / video.fps if video else np.zeros(0)
    return TemporalWindow(start, length, times, samples)


def _whole(
    seconds: float, frames: int, samples: int, audio: Audio | None, within: float | Float[np.ndarray, " t"]
) -> TemporalWindow:
    """All of a clip, one frame of each of its equal parts (Wang et al. 2016, arXiv 1608.00859, section 3.1), and the
    sound of its middle; `within` says where in its part a frame lies, in [0, 1)."""
    times = (np.arange(frames) + within) * (seconds / frames)
    # In whole samples, so that sound that lasts as long as the clip begins with it.
    heard = max(int(seconds * audio.hertz) - samples, 0) // 2 / audio.hertz if audio else 0.0
    return TemporalWindow(0.0, seconds, times, samples, heard)


def view_seconds(
    seconds: Float[np.ndarray, "*n"],
    steps: Int[np.ndarray, "*n"],
    samples: Int[np.ndarray, "*n"],
    video: Video | None,
    audio: Audio | None,
) -> Float[np.ndarray, "*n"]:
    """How long views of so many tubelet steps and samples last: as long as the longer of the two, or all the `seconds`
    of the clip where its frames are spread over it."""
    pictures = steps * video.tubelet[0] / video.fps if video else np.zeros(steps.shape)
    if video and video.sampling == "uniform":
        pictures = np.where(steps > 0, seconds, 0.0)
    sound = samples / audio.hertz if audio else np.zeros(samples.shape)
    return np.asarray(np.maximum(pictures, sound))


def sample_crop(
    width: int, height: int, video: Video, rng: np.random.Generator | None, views: Views = Views(), view: int = 0
) -> SpatialCrop:
    """The square of a picture of `width` and `height` pixels.

    The whole picture is scaled so that the square's side is `video.size`; so the square is cut out
    without another resize.

    Args:
      width, height: of the upright picture.
      video: `size`, `rounding`, `crop_scale`, the smallest share of the largest square's area, and `crop_aspect`.
      rng: draws scale, aspect and place; None takes those of the view, of one the largest square in the middle.
      views: those of an evaluation.
      view: which of them.
    """
    shorter, side = min(width, height), video.size
    if rng is None:
        cut = shorter * side / (views.resize_shorter or side)
        scaled = _scaled(width, height, side, cut, cut)
        if video.rounding == "down":
            # The very expression of torchvision, so that 224 * 320 / 240 falls on the same side of a whole number.
            scaled = tuple(int((views.resize_shorter or side) * length / shorter) for length in (height, width))
        room = [length - side for length in scaled]
        corner = [r // 2 for r in room]
        longer = int(width >= height)
        corner[longer] = crop_place(room[longer], view, views)
        return SpatialCrop(scaled, (corner[0], corner[1]))
    share = rng.uniform(video.crop_scale, 1.0) if video.crop_scale < 1 else 1.0
    aspect = 1.0
    if video.crop_aspect != (1.0, 1.0):
        aspect = np.exp(rng.uniform(*np.log(video.crop_aspect)))
    cut_width = min(shorter * np.sqrt(share * aspect), float(width))
    cut_height = min(shorter * np.sqrt(share / aspect), float(height))
    scaled = _scaled(width, height, side, cut_width, cut_height, video.rounding)
    corner = [int(rng.integers(0, length - side + 1)) for length in scaled]
    return SpatialCrop(scaled, (corner[0], corner[1]))


def _scaled(
    width: int, height: int, side: int, cut_width: float, cut_height: float, rounding: str = "nearest"
) -> tuple[int, int]:
    """Height and width of a picture scaled so that a part of it so wide and so high becomes a square of `side`."""
    whole = round if rounding == "nearest" else int
    return max(side, whole(height * (side / cut_height))), max(side, whole(width * (side / cut_width)))
