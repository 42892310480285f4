"""Real media files, made through real codecs, whose every frame and sound says what it is.

Frame `n` is grey level `8 + 5 n`, and a burst of tone sounds wherever a frame is marked as loud, so a test
can tell which frame it got and whether sound and picture still belong together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest


def grey(number: int) -> int:
    """Level of frame `number`."""
    return 8 + 5 * number


def numbers(frames: np.ndarray) -> list[int]:
    """The numbers that frames `[T, H, W, 3]` carry."""
    return [round((float(level) - 8) / 5) for level in frames.astype(float).mean(axis=(1, 2, 3))]


def beeps(seconds: float, at: Sequence[float], rate: int, length: float = 0.05) -> np.ndarray:
    """Silence with a burst of a 1 kHz tone at each of the times, `[S]` float32."""
    samples = np.zeros(round(seconds * rate), np.float32)
    for time in at:
        first = round(time * rate)
        burst = np.arange(min(round(length * rate), len(samples) - first))
        samples[first : first + len(burst)] = 0.5 * np.cos(2 * np.pi * 1000 * burst / rate)
    return samples


def onsets(samples: np.ndarray, rate: int) -> list[float]:
    """Times in seconds at which bursts begin."""
    loud = np.flatnonzero(np.abs(samples) > 0.2)
    starts = loud[np.flatnonzero(np.diff(loud, prepend=-rate) > rate // 20)]
    return [int(s) / rate for s in starts]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a file is made.

    Attributes:
      video, audio: FFmpeg's encoders; None leaves the track out.
      times: the frames' times in ticks of `1 / clock`; None is one tick a frame at `fps`.
      delay: seconds by which the sound's stamps come later.
      rotation, flip: anticlockwise degrees for the display matrix, and `hflip` or `vflip`.
      b_frames: most B-frames in a row; None is 2 of H.264 and none of other codecs.
      open_gop: let pictures hang on a later key frame, across the edge of their group.
      picture: draws frame `n`, uint8 `[H, W, 3]`; None is the plain grey.
      textured: lay noise of mean zero over the grey, so that a frame costs some kilobytes. (MPEG programme
        streams stamp a block of 2 KB, not a frame; of plain frames a block holds many.)
      aspect: width of a stored pixel over its height.
    """

    format: str = "mp4"
    video: str | None = "libx264"
    audio: str | None = "aac"
    fps: int = 12
    frames: int = 24
    size: tuple[int, int] = (48, 64)
    pixels: str = "yuv420p"
    times: Sequence[int] | None = None
    clock: int = 12
    gop: int = 6
    b_frames: int | None = None
    rate: int = 48000
    layout: str = "mono"
    beeps: Sequence[float] = (0.5, 1.25)
    delay: float = 0.0
    rotation: int = 0
    flip: str | None = None
    open_gop: bool = False
    options: dict = dataclasses.field(default_factory=dict)
    picture: Callable[[int], np.ndarray] | None = None
    textured: bool = False
    aspect: Fraction | int | None = None


def write(path: Path, recipe: Recipe) -> Path:
    """Encode a file as the recipe says."""
    import av

    with av.open(str(path), "w", format=recipe.format, options=recipe.options) as container:
        picture = _picture_stream(container, recipe) if recipe.video else None
        sound = _sound_stream(container, recipe) if recipe.audio else None
        if sound:
            _write_sound(container, sound, recipe)
        if picture:
            _write_pictures(container, picture, recipe)
    return path


def _picture_stream(container, recipe: Recipe):
    stream = container.add_stream(recipe.video, rate=Fraction(recipe.fps))
    stream.height, stream.width = recipe.size
    stream.pix_fmt = recipe.pixels
    if recipe.aspect is not None:
        stream.codec_context.sample_aspect_ratio = Fraction(recipe.aspect)
    stream.codec_context.gop_size, stream.codec_context.thread_count = recipe.gop, 1
    b_frames = recipe.b_frames if recipe.b_frames is not None else 2 * (recipe.video == "libx264")
    stream.codec_context.max_b_frames = b_frames
    if recipe.video == "libx264":
        params = f"scenecut=0:keyint={recipe.gop}:open-gop={int(recipe.open_gop)}"
        stream.options = {"crf": "12", "preset": "veryfast", "x264-params": params}
    elif recipe.video == "libx265":
        params = f"scenecut=0:keyint={recipe.gop}:bframes={b_frames}:log-level=none:pools=1"
        stream.options = {"crf": "12", "preset": "ultrafast", "x265-params": params}
    elif recipe.video.startswith("libvpx"):
        stream.bit_rate, stream.options = 2_000_000, {"deadline": "realtime", "cpu-used": "8"}
    else:
        stream.bit_rate = 2_000_000
    if recipe.rotation or recipe.flip:
        stream.set_display_rotation(recipe.rotation, recipe.flip == "hflip", recipe.flip == "vflip")
    return stream


def _write_pictures(container, stream, recipe: Recipe) -> None:
    import av

    for number in range(recipe.frames):
        pixels = recipe.picture(number) if recipe.picture else np.full((*recipe.size, 3), grey(number), np.uint8)
        if recipe.textured:
            noise = np.random.default_rng(number).integers(0, 2, (*recipe.size, 1)) * 2 - 1
            pixels = (pixels + 8 * noise).clip(0, 255).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=recipe.pixels)
        frame.pts = number if recipe.times is None else recipe.times[number]
        frame.time_base = Fraction(1, recipe.fps if recipe.times is None else recipe.clock)
        if recipe.times is not None:
            stream.codec_context.time_base = frame.time_base
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _sound_stream(container, recipe: Recipe):
    stream = container.add_stream(recipe.audio, rate=recipe.rate, layout=recipe.layout)
    if not recipe.audio.startswith(("pcm", "flac")):
        stream.bit_rate = 96000 * stream.layout.nb_channels
    return stream


def _write_sound(container, stream, recipe: Recipe) -> None:
    import av

    samples = beeps(recipe.frames / recipe.fps, recipe.beeps, recipe.rate)
    channels = np.repeat(samples[None], stream.layout.nb_channels, 0)
    resampler = av.AudioResampler(stream.format, stream.layout, recipe.rate, stream.codec_context.frame_size or 1024)
    frame = av.AudioFrame.from_ndarray(channels, format="fltp", layout=recipe.layout)
    frame.sample_rate = recipe.rate
    frame.pts, frame.time_base = round(recipe.delay * recipe.rate), Fraction(1, recipe.rate)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


@pytest.fixture
def make(tmp_path):
    """`make(name, **recipe)` writes a file into the test's folder and gives its path."""
    return lambda name, **recipe: write(tmp_path / name, Recipe(**recipe))


@pytest.fixture
def read_numbers():
    return numbers


@pytest.fixture
def find_onsets():
    return onsets


@pytest.fixture
def make_beeps():
    return beeps
