"""Patches of video frames, spectrograms and waveforms, with the position of each patch.

Sizes, grids and times of tokens follow from the config, so they are known before anything is decoded.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from mmvideo.input.config import Audio, Video
from mmvideo.stream import PatchSpec


def video_spec(video: Video) -> PatchSpec:
    """Return the patch and the largest grid of the video."""
    t, y, x = video.tubelet
    return PatchSpec((t, y, x, 3), (video.frames // t, video.size // y, video.size // x), t / video.fps)


def audio_spec(audio: Audio, longest: int) -> PatchSpec:
    """Return the patch and largest grid of spectrograms of at most `longest` rows, or waveforms of as many samples."""
    steps = int(audio_steps(np.array([longest]), audio)[0])
    if audio.waveform:
        return PatchSpec((audio.waveform,), (steps, 1, 1), audio.waveform / audio.sample_rate)
    seconds = audio_stride(audio)[0] * audio.spectrogram.hop_seconds
    return PatchSpec(audio.patch, (steps, audio_bands(audio), 1), seconds)


def audio_stride(audio: Audio) -> tuple[int, int]:
    """Return the time steps and mel bins from one patch of a spectrogram to the next."""
    return audio.stride or audio.patch


def audio_bands(audio: Audio) -> int:
    """Return the number of patches along the mel axis; 1 for waveforms."""
    if audio.waveform:
        return 1
    return (audio.spectrogram.bins - audio.patch[1]) // audio_stride(audio)[1] + 1


def audio_steps(rows: Int[np.ndarray, " n"], audio: Audio) -> Int[np.ndarray, " n"]:
    """Return the number of whole patches along time, for spectrograms of `rows` rows or waveforms of `rows` samples.

    It is at least one; a shorter input is padded.
    """
    length, step = (audio.waveform,) * 2 if audio.waveform else (audio.patch[0], audio_stride(audio)[0])
    # Patches of 16 rows every 10 rows: 16 rows give 1 patch, 25 rows 1, 26 rows 2.
    return np.maximum((rows - length) // step + 1, 1)


def audio_rows(steps: int, audio: Audio) -> int:
    """Return the rows of the spectrogram, or the samples, that patches of `steps` time steps cover."""
    if audio.waveform:
        return steps * audio.waveform
    return (steps - 1) * audio_stride(audio)[0] + audio.patch[0]


def video_patches(frames: UInt8[np.ndarray, "T H W 3"], tubelet: tuple[int, int, int]) -> UInt8[np.ndarray, "N P"]:
    """Return the tubelets in the order `(t, y, x)`, each flattened as `(t, y, x, 3)`."""
    t, y, x = tubelet
    steps, height, width = frames.shape[0] // t, frames.shape[1] // y, frames.shape[2] // x
    # Axes 0, 2, 4 number the tubelets; axes 1, 3, 5, 6 are the pixels within one.
    cut = frames.reshape(steps, t, height, y, width, x, 3)
    return cut.transpose(0, 2, 4, 1, 3, 5, 6).reshape(steps * height * width, t * y * x * 3)


def video_frames(
    patches: UInt8[np.ndarray, "N P"], tubelet: tuple[int, int, int], height: int, width: int
) -> UInt8[np.ndarray, "T H W 3"]:
    """Return the frames of patches: the inverse of `video_patches`, for frames of `height` and `width` pixels."""
    t, y, x = tubelet
    cut = patches.reshape(-1, height // y, width // x, t, y, x, 3)
    return cut.transpose(0, 3, 1, 4, 2, 5, 6).reshape(-1, height, width, 3)


def audio_patches(
    rows: Float32[np.ndarray, "T M"] | Float32[np.ndarray, " S"], audio: Audio
) -> Float32[np.ndarray, "N P"]:
    """Return the patches of a spectrogram in the order `(t, mel)`, flattened in that order, or of a waveform in
    sequence.

    Patches of a spectrogram overlap if the stride is shorter than the patch.
    """
    if audio.waveform:
        return rows.reshape(-1, audio.waveform)
    # A view without copies: windows at every row and bin, of which every step-th and jump-th are patches.
    (t, mel), (step, jump) = audio.patch, audio_stride(audio)
    windows = np.lib.stride_tricks.sliding_window_view(rows, (t, mel))[::step, ::jump]
    return windows.reshape(-1, t * mel)


def video_positions(
    steps: int, video: Video, times: Float[np.ndarray, " t"]
) -> tuple[Int[np.ndarray, "N 3"], Float[np.ndarray, " N"]]:
    """Return the grid cell and middle time, in seconds, of the tokens of `steps` tubelet steps with frames at
    `times`."""
    spec = video_spec(video)
    grid = _grid(steps, spec.grid[1], spec.grid[2])
    if video.sampling == "uniform":
        return grid, times.reshape(steps, -1).mean(axis=1).astype(np.float32)[grid[:, 0]]
    return grid, (grid[:, 0] + np.float32(0.5)) * np.float32(spec.seconds)


def audio_positions(steps: int, audio: Audio) -> tuple[Int[np.ndarray, "N 3"], Float[np.ndarray, " N"]]:
    """Return the grid cell and middle time, in seconds, of the tokens of `steps` time steps."""
    grid = _grid(steps, audio_bands(audio), 1)
    if audio.waveform:
        return grid, (grid[:, 0] + np.float32(0.5)) * np.float32(audio.waveform / audio.sample_rate)
    # Step 2 with stride 10 and patch 16 spans rows 20 to 36: its middle is row 28.
    middle = grid[:, 0] * audio_stride(audio)[0] + np.float32(audio.patch[0] / 2)
    return grid, middle * np.float32(audio.spectrogram.hop_seconds)


def text_positions(text_tokens: int, caption: int = 0) -> tuple[Int[np.ndarray, "N 3"], Float[np.ndarray, " N"]]:
    """Return the grid cell and the time of text tokens: the cell is (0, caption index, token index), the time 0."""
    grid = _grid(1, 1, text_tokens)
    grid[:, 1] = caption
    return grid, np.zeros(text_tokens, np.float32)


def _grid(t: int, y: int, x: int) -> np.ndarray:
    """Return the cells of a grid in the order of its axes."""
    return np.indices((t, y, x), dtype=np.int32).reshape(3, -1).T
