"""The host CPU time of the input: decoding, by the measured cost of a second of video and of audio.

Costs are those of one core with one decoding thread (AMD EPYC, PyAV 18.1) for H.264 of 256 pixels at 30 frames a second
with a key frame every 30 frames. Clips are read at random times, with seeking and resizing to 224 pixels: 21 clips of
16 frames at a stride of 4 (2.13 seconds each) per core second. Videos of 224 pixels took less than half of that, videos
of 720p ten times as much. `python tools/bench/input.py` measures the loader on another machine.
"""

from __future__ import annotations

from mmvideo.input.config import Input

# 16 frames at a stride of 4 of 30 frames a second span 2.13 s; 21 of them a second are 44.8 s of video.
VIDEO = 1 / (21 * 16 * 4 / 30)
"""Core seconds per second of video."""

AUDIO = 1 / 1300 + 0.0015
"""Core seconds per second of audio: AAC to 16 kHz mono at 1,300 times real time, and AST's spectrogram in 1.5 ms."""


def cpu_seconds_per_clip(config: Input) -> float:
    """Return the core seconds of a clip that fills the views."""
    video = 0.0 if config.video is None else config.video.frames / config.video.fps
    audio = 0.0 if config.audio is None else config.audio.seconds
    # 16 frames at 7.5 a second are 2.13 s of video, or 0.048 core seconds.
    return video * VIDEO + audio * AUDIO
