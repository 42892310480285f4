"""All input fields that can be chosen from the corpus, in order of dependence."""

from __future__ import annotations

from mmvideo.input.advice import audio_view, captions_length, row_budget, video_view, view_length
from mmvideo.input.advice.choice import Chooser

INPUT: dict[str, Chooser] = {
    "input.video": video_view.choose_video,
    "input.video.size": video_view.choose_size,
    "input.video.tubelet": video_view.choose_tubelet,
    "input.video.fps": video_view.choose_rate,
    "input.video.frames": video_view.choose_frames,
    "input.audio": audio_view.choose_audio,
    "input.audio.seconds": view_length.choose_seconds,
    "input.audio.spectrogram.hop_seconds": audio_view.choose_hop,
    "input.audio.spectrogram.window_seconds": audio_view.choose_window,
    "input.audio.patch": audio_view.choose_patch,
    "input.audio.spectrogram.mean": audio_view.choose_mean,
    "input.audio.spectrogram.deviation": audio_view.choose_deviation,
    "input.text": captions_length.choose_text,
    "input.text.length": captions_length.choose_length,
    "input.packing.tokens": row_budget.choose_tokens,
    "input.packing.clips": row_budget.choose_clips,
}
"""Function that chooses each field, by its dotted name."""
