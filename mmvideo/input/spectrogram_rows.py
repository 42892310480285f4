"""Audio of a view before patching: spectrogram rows, or waveform samples."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float32

from mmvideo.input.config import Audio
from mmvideo.input.planning.token_counts import count_audio_rows
from mmvideo.input.transforms import patchify


def view_spectrogram(
    heard: Float32[np.ndarray, " S"] | None, planned: int, steps: int, audio: Audio
) -> Float32[np.ndarray, "T M"] | Float32[np.ndarray, " T"]:
    """Return the rows that patches of `steps` time steps cover.

    Silence pads audio that is shorter than the plan or than a patch, or that ends before its video.

    Args:
      heard: decoded samples; None for none.
      planned: planned number of samples of the view.
      steps: time steps of its patches.
      audio: the settings.
    """
    from mmvideo.media.spectrogram import spectrogram

    needed = patchify.audio_rows(steps, audio)
    heard = np.zeros(0, np.float32) if heard is None else heard[:planned]
    if audio.waveform:
        return np.pad(heard, (0, max(needed - len(heard), 0)))[:needed]
    made = audio.spectrogram
    # Each missing row needs one hop of silence; the first one also needs a window, if the plan is shorter than one.
    short = max(needed - count_audio_rows(planned, audio), 0)
    seconds = short * made.hop_seconds + (short > 0) * made.window_seconds
    length = planned + math.ceil(seconds * made.sample_rate)
    return spectrogram(np.pad(heard, (0, length - len(heard))), made)[:needed]
