"""Token counts of every clip, known from the corpus table and the config before decoding.

A clip gives as many frames as its length holds, at most `Video.frames`, rounded down to whole tubelets, and at least
one tubelet. With `uniform` sampling it always gives all frames. Its audio gives as many whole patches as fit, at least
one. Its captions give their text tokens. The counts of hidden, unpredicted and dropped tokens follow from these.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.input.annotations.captions import Captions
from mmvideo.input.config import Audio, DropToken, Input, Masking, Video
from mmvideo.input.planning.sampled_examples import SampledExamples
from mmvideo.input.transforms import masking, patchify
from mmvideo.input.transforms.drop_token import kept_count
from mmvideo.input.transforms.dual_masking import predicted_count
from mmvideo.stream import Modality

TOKEN_BUDGETS = (
    "tokens", "clips", "video", "audio", "text", "video_hidden", "audio_hidden", "text_hidden", "decode",
)  # fmt: skip
"""The limited resources of a row: `L`, `E`, the encoded tokens of each modality, the hidden tokens of each, and the
tokens of the decoder's row. They are the columns of `TokenCounts.table`."""

_EDGE = 1e-6
"""Tolerance that keeps 2.0 seconds at 8 frames a second at 16 frames, however the table rounds the seconds."""


@dataclasses.dataclass(frozen=True)
class TokenCounts:
    """Steps and tokens of every clip and caption of a corpus.

    Attributes:
      video_steps: tubelet steps, 0 for a clip without video.
      audio_steps: time steps of the audio patches, 0 for a clip without audio.
      video, audio: tokens seen by the encoder.
      video_hidden, audio_hidden: tokens hidden from the encoder and predicted.
      text, text_hidden: the same for every caption; the encoder sees the mask token in place of a hidden one.
      decoded: whether patches may be hidden, so that there is a decoder row.
    """

    video_steps: Int[np.ndarray, " n"]
    audio_steps: Int[np.ndarray, " n"]
    video: Int[np.ndarray, " n"]
    audio: Int[np.ndarray, " n"]
    video_hidden: Int[np.ndarray, " n"]
    audio_hidden: Int[np.ndarray, " n"]
    text: Int[np.ndarray, " c"]
    text_hidden: Int[np.ndarray, " c"]
    decoded: bool = False

    def table(self, sampled: SampledExamples) -> Int[np.ndarray, "m 9"]:
        """Return the slots that sampled clips need of each of `TOKEN_BUDGETS`."""
        text, hidden = (_of_captions(values, sampled.caption) for values in (self.text, self.text_hidden))
        return self._table(sampled.clip, sampled.present, text, hidden)

    def largest(
        self, clips: Int[np.ndarray, " m"], has: Bool[np.ndarray, "m 3"], captions: Captions, count: int
    ) -> Int[np.ndarray, "m 9"]:
        """Return the most slots that the clips can need, with all modalities and any `count` of their captions."""
        text, hidden = (captions.most(values, count)[clips] for values in (self.text, self.text_hidden))
        return self._table(clips, has, text * has[:, Modality.TEXT], hidden * has[:, Modality.TEXT])

    def _table(self, clips: np.ndarray, present: np.ndarray, text: np.ndarray, text_hidden: np.ndarray) -> np.ndarray:
        pictures, sound = present[:, Modality.VIDEO], present[:, Modality.AUDIO]
        video, video_hidden = self.video[clips] * pictures, self.video_hidden[clips] * pictures
        audio, audio_hidden = self.audio[clips] * sound, self.audio_hidden[clips] * sound
        decode = (video + audio + video_hidden + audio_hidden) * self.decoded
        # The order of TOKEN_BUDGETS: L, E, then encoded and hidden tokens of each modality, then the decoder's.
        columns = [video + audio + text, np.ones_like(video), video, audio, text]
        columns += [video_hidden, audio_hidden, text_hidden, decode]
        return np.stack(columns, axis=1).astype(np.int64)


def _of_captions(values: np.ndarray, caption: np.ndarray) -> np.ndarray:
    """Return the sum of a value over the captions of each clip; -1 counts as no caption."""
    # values [5, 7, 9], captions [[0, 2], [1, -1]]: the sums are [14, 7].
    there = caption >= 0
    result = np.zeros(caption.shape, np.int64)
    result[there] = values[caption[there]]
    return result.sum(axis=1)


def video_steps(seconds: Float[np.ndarray, " n"], video: Video) -> Int[np.ndarray, " n"]:
    """Return the tubelet steps of clips of these lengths."""
    if video.sampling == "uniform":
        return np.full(len(seconds), video.frames // video.tubelet[0], np.int64)
    # 1.3 s at 8 frames a second are 10 frames: with tubelets of 4 frames, 2 steps.
    frames = np.floor(seconds * video.fps + _EDGE).astype(np.int64)
    return np.maximum(np.minimum(frames, video.frames) // video.tubelet[0], 1)


def samples(seconds: Float[np.ndarray, " n"], audio: Audio) -> Int[np.ndarray, " n"]:
    """Return the audio samples of the view of clips of these lengths."""
    longest = np.minimum(seconds, audio.seconds)
    return np.floor(longest * audio.hertz + _EDGE).astype(np.int64)


def audio_steps(seconds: Float[np.ndarray, " n"], audio: Audio) -> Int[np.ndarray, " n"]:
    """Return the time steps of the audio patches of clips of these lengths."""
    # Most clips fill the view, so few sample counts are distinct: count the rows of each only once.
    distinct, inverse = np.unique(samples(seconds, audio), return_inverse=True)
    rows = np.array([count_audio_rows(int(count), audio) for count in distinct], np.int64)
    return patchify.audio_steps(rows, audio)[inverse]


def clip_sizes(
    seconds: Float[np.ndarray, " n"],
    has_video: Bool[np.ndarray, " n"],
    has_audio: Bool[np.ndarray, " n"],
    captions: Captions,
    config: Input,
    mask: Masking,
    drop: DropToken,
) -> TokenCounts:
    """Return the steps and tokens of every clip and caption under these masks and drop rates."""
    nothing = np.zeros(len(seconds), np.int64)
    steps_v, cells, steps_a, bands = nothing, 0, nothing, 0
    if config.video is not None:
        steps_v = np.where(has_video, video_steps(seconds, config.video), 0)
        cells = int(np.prod(patchify.video_spec(config.video).grid[1:]))
    if config.audio is not None:
        steps_a = np.where(has_audio, audio_steps(seconds, config.audio), 0)
        bands = patchify.audio_bands(config.audio)
    hidden_v, hidden_a = masking.hidden_video(steps_v, cells, mask), masking.hidden_audio(steps_a, bands, mask)
    hidden_t = masking.hidden_text(captions.words, mask)
    predicted_t = kept_count(hidden_t, drop.text)
    return TokenCounts(
        steps_v,
        steps_a,
        video=kept_count(steps_v * cells - hidden_v, drop.video),
        audio=kept_count(steps_a * bands - hidden_a, drop.audio),
        video_hidden=kept_count(predicted_count(hidden_v, mask), drop.video),
        audio_hidden=kept_count(hidden_a, drop.audio),
        # Hidden text tokens stay in the encoder's row as mask tokens, so they are added again.
        text=captions.marks + kept_count(captions.words - hidden_t, drop.text) + predicted_t,
        text_hidden=predicted_t,
        decoded=bool(mask.video or mask.audio),
    )


def count_audio_rows(count: int, audio: Audio) -> int:
    """Return the spectrogram rows of this many samples, or the samples themselves for waveform patches."""
    from mmvideo.media.spectrogram import frame_count

    return count if audio.waveform else frame_count(count, audio.spectrogram)


def longest_audio(audio: Audio) -> int:
    """Return the spectrogram rows of the longest view, or its samples."""
    return count_audio_rows(int(samples(np.array([audio.seconds]), audio)[0]), audio)
