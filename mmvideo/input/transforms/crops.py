"""View of a clip: its stretch of time and its square crop.

Video and audio share one stretch. Training draws the stretch and the square at random. Evaluation takes the middle of
both, or several views (`eval_views`).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Audio, Video, Views
from mmvideo.input.transforms.eval_views import begin, crop_place, phase


@dataclasses.dataclass(frozen=True)
class SpatialCrop:
    """Scaling of a frame and the part of it that is kept.

    Attributes:
      size: height and width in pixels after scaling the whole frame.
      corner: row and column of the first pixel that is kept.
    """

    size: tuple[int, int]
    corner: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class TemporalWindow:
    """Stretch of time of a view.

    Attributes:
      start: seconds from the start of the clip.
      seconds: length.
      times: sampling time of each frame, in seconds from `start`: the middle of its interval or, with uniform sampling,
        a time within it.
      samples: number of audio samples.
      heard: start of the audio, in seconds from `start`.
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
    """Return the stretch of time of a view of a clip.

    Args:
      seconds: length of the clip.
      steps: tubelet steps of its video, 0 for none.
      samples: audio samples of the view, 0 for none.
      video, audio: settings of the modalities that the clip has.
      rng: draws the start; None takes the start of the given view.
      views: the views of an evaluation.
      view: index of the view.
    """
    frames = steps * video.tubelet[0] if video else 0
    if video and video.sampling == "uniform":
        return _whole(seconds, frames, samples, audio, phase(view, views) if rng is None else rng.random(frames))
    length = float(view_seconds(np.array(seconds), np.array(steps), np.array(samples), video, audio))
    # A clip shorter than its view starts at 0; the missing end is filled up later.
    room = max(seconds - length, 0.0)
    start = begin(room, view, views) if rng is None else room * rng.random()
    # At 8 frames a second the frames are sampled at 1/16, 3/16, 5/16 seconds and so on.
    times = (np.arange(frames) + 0.5) / video.fps if video else np.zeros(0)
    return TemporalWindow(start, length, times, samples)


def _whole(
    seconds: float, frames: int, samples: int, audio: Audio | None, within: float | Float[np.ndarray, " t"]
) -> TemporalWindow:
    """Return the whole clip as a window: a frame of each of its equal parts, and the audio of its middle.

    This is the sampling of TSN (Wang et al. 2016, arXiv 1608.00859, section 3.1). `within` is the position of a frame
    in its part, in [0, 1).
    """
    times = (np.arange(frames) + within) * (seconds / frames)
    # Whole samples: audio as long as the clip then starts at exactly 0.
    heard = max(int(seconds * audio.hertz) - samples, 0) // 2 / audio.hertz if audio else 0.0
    return TemporalWindow(0.0, seconds, times, samples, heard)


def view_seconds(
    seconds: Float[np.ndarray, "*n"],
    steps: Int[np.ndarray, "*n"],
    samples: Int[np.ndarray, "*n"],
    video: Video | None,
    audio: Audio | None,
) -> Float[np.ndarray, "*n"]:
    """Return the length of views with these tubelet steps and samples, in seconds.

    It is the length of the longer modality, or the `seconds` of the whole clip where its frames are spread over it.
    """
    pictures = steps * video.tubelet[0] / video.fps if video else np.zeros(steps.shape)
    if video and video.sampling == "uniform":
        pictures = np.where(steps > 0, seconds, 0.0)
    sound = samples / audio.hertz if audio else np.zeros(samples.shape)
    return np.asarray(np.maximum(pictures, sound))


def sample_crop(
    width: int, height: int, video: Video, rng: np.random.Generator | None, views: Views = Views(), view: int = 0
) -> SpatialCrop:
    """Return the square crop of a frame of `width` and `height` pixels.

    The whole frame is scaled so that the side of the square is `video.size`; the square is then cut out without a
    second resize.

    Args:
      width, height: size of the upright frame.
      video: `size`, `rounding`, `crop_scale` (smallest share of the largest square's area) and `crop_aspect`.
      rng: draws scale, aspect ratio and position; None takes those of the view (a single view is the largest square in
        the middle).
      views: the views of an evaluation.
      view: index of the view.
    """
    shorter, side = min(width, height), video.size
    if rng is None:
        cut = shorter * side / (views.resize_shorter or side)
        scaled = _scaled(width, height, side, cut, cut)
        if video.rounding == "down":
            # The exact expression of torchvision, so that 224 * 320 / 240 rounds to the same side.
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
    # Width times height is the share of the largest square's area, and their ratio is the aspect.
    cut_width = min(shorter * np.sqrt(share * aspect), float(width))
    cut_height = min(shorter * np.sqrt(share / aspect), float(height))
    scaled = _scaled(width, height, side, cut_width, cut_height, video.rounding)
    corner = [int(rng.integers(0, length - side + 1)) for length in scaled]
    return SpatialCrop(scaled, (corner[0], corner[1]))


def _scaled(
    width: int, height: int, side: int, cut_width: float, cut_height: float, rounding: str = "nearest"
) -> tuple[int, int]:
    """Return the height and width of a frame scaled so that a part of `cut_width` and `cut_height` becomes a square."""
    # 320 x 240 pixels with a part of 240 x 240 and a side of 120: the frame is scaled to height 120 and width 160.
    whole = round if rounding == "nearest" else int
    return max(side, whole(height * (side / cut_height))), max(side, whole(width * (side / cut_width)))
