"""How many tokens every clip gives, known from the corpus table and the config before decoding.

A clip gives as many frames as it lasts, at most `Video.frames`, rounded down to whole tubelets and at
least one; as many whole spectrogram patches as it lasts, at least one; and the pieces of its caption.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.input import masking, tokenise
from mmvideo.input.config import Audio, Input, Masking, Video

BUDGETS = (
    "tokens", "clips", "video", "audio", "text", "video_hidden", "audio_hidden", "text_hidden", "decode",
)  # fmt: skip
"""What a row has only so much of: `L`, `E`, the encoded tokens of each modality, the hidden ones, and the
tokens of the decoder's row. The columns of `MediaSizes.table`."""

_EDGE = 1e-6
"""Keeps 2.0 seconds at 8 frames a second at 16 frames, however the table's seconds were rounded."""


@dataclasses.dataclass(frozen=True)
class MediaSizes:
    """Steps and tokens of every clip of a corpus.

    Attributes:
      video_steps: tubelet steps, 0 for a clip without pictures.
      audio_steps: time steps of the spectrogram's patches, 0 for a clip without sound.
      video, audio: tokens seen by the encoder.
      video_hidden, audio_hidden: tokens hidden from it.
    """

    video_steps: Int[np.ndarray, " n"]
    audio_steps: Int[np.ndarray, " n"]
    video: Int[np.ndarray, " n"]
    audio: Int[np.ndarray, " n"]
    video_hidden: Int[np.ndarray, " n"]
    audio_hidden: Int[np.ndarray, " n"]

    def table(
        self, clips: Int[np.ndarray, " m"], pieces: Int[np.ndarray, " m"], mask: Masking, marks: int = 1
    ) -> Int[np.ndarray, "m 9"]:
        """What the named clips need of each of `BUDGETS`, with captions of so many pieces, `marks` of them no words."""
        video, audio = self.video[clips], self.audio[clips]
        video_hidden, audio_hidden = self.video_hidden[clips], self.audio_hidden[clips]
        hidden = video_hidden + audio_hidden
        decode = (video + audio + hidden) if (mask.video or mask.audio) else np.zeros_like(hidden)
        columns = [video + audio + pieces, np.ones_like(video), video, audio, pieces]
        columns += [video_hidden, audio_hidden, masking.hidden_text(np.maximum(pieces - marks, 0), mask), decode]
        return np.stack(columns, axis=1).astype(np.int64)


def video_steps(seconds: Float[np.ndarray, " n"], video: Video) -> Int[np.ndarray, " n"]:
    """Tubelet steps of clips that last so long."""
    frames = np.floor(seconds * video.fps + _EDGE).astype(np.int64)
    return np.maximum(np.minimum(frames, video.frames) // video.tubelet[0], 1)


def samples(seconds: Float[np.ndarray, " n"], audio: Audio) -> Int[np.ndarray, " n"]:
    """Audio samples of the view of clips that last so long."""
    longest = np.minimum(seconds, audio.seconds)
    return np.floor(longest * audio.spectrogram.sample_rate + _EDGE).astype(np.int64)


def audio_steps(seconds: Float[np.ndarray, " n"], audio: Audio) -> Int[np.ndarray, " n"]:
    """Time steps of the patches of clips that last so long."""
    from mmvideo.media.spectrogram import frame_count

    distinct, inverse = np.unique(samples(seconds, audio), return_inverse=True)
    rows = np.array([frame_count(int(count), audio.spectrogram) for count in distinct], np.int64)
    return tokenise.audio_steps(rows, audio)[inverse]


def media_sizes(
    seconds: Float[np.ndarray, " n"],
    has_video: Bool[np.ndarray, " n"],
    has_audio: Bool[np.ndarray, " n"],
    config: Input,
    mask: Masking,
) -> MediaSizes:
    """Steps and tokens of every clip."""
    nothing = np.zeros(len(seconds), np.int64)
    steps_v, cells, steps_a, bands = nothing, 0, nothing, 0
    if config.video is not None:
        steps_v = np.where(has_video, video_steps(seconds, config.video), 0)
        cells = int(np.prod(tokenise.video_spec(config.video).grid[1:]))
    if config.audio is not None:
        steps_a = np.where(has_audio, audio_steps(seconds, config.audio), 0)
        bands = tokenise.audio_bands(config.audio)
    hidden_v = masking.hidden_video(steps_v, cells, mask)
    hidden_a = masking.hidden_audio(steps_a, bands, mask)
    return MediaSizes(steps_v, steps_a, steps_v * cells - hidden_v, steps_a * bands - hidden_a, hidden_v, hidden_a)


def longest_spectrogram(audio: Audio) -> int:
    """Rows of the spectrogram of the longest view."""
    from mmvideo.media.spectrogram import frame_count

    return frame_count(int(samples(np.array([audio.seconds]), audio)[0]), audio.spectrogram)
