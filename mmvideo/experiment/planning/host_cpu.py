"""Host cores that it takes to feed a step: decoding, by a stated cost of a second of video and of sound.

The costs are those of one core with one decoding thread (an AMD EPYC, PyAV 18.1), for H.264 of 256 pixels with a key
frame every 30 at 30 frames a second, read as random clips, seeking and resizing to 224 pixels included: 21 clips of 16
frames at a stride of 4, which are 2.13 seconds, in a second of a core. Videos of 224 pixels took less than half of
that, of 720p ten times as much. `python tools/bench/input.py` measures the loader on another machine.
"""

from __future__ import annotations

from mmvideo.input.config import Input

VIDEO = 1 / (21 * 16 * 4 / 30)
"""Seconds of a core for a second of video."""

AUDIO = 1 / 1300 + 0.0015
"""Seconds of a core for a second of sound: AAC to 16 kHz mono at 1,300 times real time, and the spectrogram of AST,
1.5 ms on the same kind of core."""


def cpu_seconds_per_clip(config: Input) -> float:
    """Seconds that a core takes for a clip that fills the views."""
    video = 0.0 if config.video is None else config.video.frames / config.video.fps
    audio = 0.0 if config.audio is None else config.audio.seconds
    return video * VIDEO + audio * AUDIO
