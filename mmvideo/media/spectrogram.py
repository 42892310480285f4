"""Log spectrograms of audio: Kaldi filter banks and log-mel, in NumPy for the loader and in JAX for the device.

One implementation serves both: `xp` is the array module. Windows and mel filters are made once for each configuration,
in float64, and cached.
"""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Float

from mmvideo.media.config import AST, AUDIO_MAE, CAV_MAE, MBT, MERLOT_RESERVE, VATT, WHISPER, Spectrogram

__all__ = [
    "AST",
    "AUDIO_MAE",
    "CAV_MAE",
    "MBT",
    "MERLOT_RESERVE",
    "VATT",
    "WHISPER",
    "Spectrogram",
    "frame_count",
    "spectrogram",
]

KALDI_PREEMPHASIS = 0.97
"""Share of the previous sample that is subtracted from each sample (Kaldi, `FrameExtractionOptions`)."""

KALDI_FLOOR = float(np.finfo(np.float32).eps)
"""Smallest energy before the log (Kaldi, `FbankComputer::Compute`)."""

POVEY_POWER = 0.85
"""Exponent that turns Hann's window into Kaldi's own (Kaldi, `FeatureWindowFunction`)."""


def spectrogram(samples: Float[Any, "*batch S"], config: Spectrogram, xp: ModuleType = np) -> Float[Any, "*batch T M"]:
    """Return the normalised log spectrogram, `(log energy - mean) / deviation`, in float32.

    Args:
      samples: audio in [-1, 1] at `config.sample_rate`; for JAX of a static length.
      config: settings of the spectrogram.
      xp: `numpy` or `jax.numpy`.

    Returns:
      `T = frame_count(S, config)` rows of `M = config.bins` mel bins, low ones first.

    Raises:
      ValueError: the configuration gives no filter bank.
    """
    # The transform of a pure tone needs float64: in float32, content 60 dB below the tone is lost in
    # rounding. On an accelerator float64 is off or slow, and that rounding is accepted.
    wide = np.float64 if xp is np else np.float32
    # SciPy transforms many rows at a time, several times as fast as NumPy, to the same values.
    rfft = scipy.fft.rfft if xp is np else xp.fft.rfft
    frames = _cut(xp.asarray(samples, wide), config, xp)
    count = frames.shape[-2]
    if config.kind == "kaldi":
        frames = frames - frames.mean(axis=-1, keepdims=True)
        # Pre-emphasis uses the first sample as its own predecessor, as Kaldi does.
        before = xp.concatenate([frames[..., :1], frames[..., :-1]], axis=-1)
        frames = frames - wide(KALDI_PREEMPHASIS) * before
    spectrum = rfft(frames * _window(config).astype(wide), n=_fft_length(config))
    # Power; the magnitude needs a root, which is taken only where it is requested.
    spectrum = (spectrum.real**2 + spectrum.imag**2).astype(xp.float32)
    if config.kind == "log_mel" and config.spectrum == "magnitude":
        spectrum = xp.sqrt(spectrum)
    energy = _mel_energy(spectrum, config) if xp is np else xp.matmul(spectrum, _mel_filters(config))
    if config.kind == "kaldi":
        energy = xp.maximum(energy, np.float32(KALDI_FLOOR))
    else:
        energy = energy + np.float32(config.offset)
        energy = energy if config.floor is None else xp.maximum(energy, np.float32(config.floor))
    heights = xp.log(energy)
    if config.kind == "log_mel" and config.drop is not None and count:
        loudest = heights.max(axis=(-2, -1), keepdims=True)
        heights = xp.maximum(heights, loudest - np.float32(config.drop))
    return (heights - np.float32(config.mean)) / np.float32(config.deviation)


def frame_count(samples: int, config: Spectrogram) -> int:
    """Return the number of rows of the spectrogram of this many samples."""
    hop, length = _hop_samples(config), _window_samples(config)
    if config.kind == "kaldi":
        # 1 s at 16 kHz, windows of 400 samples every 160: 1 + 15600 // 160 = 98 rows with Kaldi, 100 with `end`.
        return 0 if samples < length else 1 + (samples - length) // hop
    if config.edges == "end":
        return -(-samples // hop)
    return samples // hop + (config.edges == "centre")


def _cut(samples: Any, config: Spectrogram, xp: ModuleType) -> Any:
    """Return overlapping windows of the samples, `[..., T, window]`."""
    count, length, hop = frame_count(samples.shape[-1], config), _window_samples(config), _hop_samples(config)
    centred = config.kind == "log_mel" and config.edges != "end"
    # 1000 samples, windows of 400 every 160, centred: 7 rows need 200 samples before and 6 * 160 + 400 - 1200 = 160
    # after.
    before = length // 2 if centred else 0
    after = max(0, (count - 1) * hop + length - before - samples.shape[-1])
    if before or after:
        # Audio shorter than the padding cannot be reflected, so silence pads it.
        turned = centred and config.padding == "reflect" and samples.shape[-1] > max(before, after)
        around = [(0, 0)] * (samples.ndim - 1) + [(before, after)]
        samples = xp.pad(samples, around, mode="reflect" if turned else "constant")
    if xp is np and count:
        return np.lib.stride_tricks.sliding_window_view(samples, length, axis=-1)[..., ::hop, :][..., :count, :]
    # Static indices, so that JAX compiles a single gather: with hop 2 and length 3 the rows are [0 1 2], [2 3 4].
    return samples[..., np.arange(count)[:, None] * hop + np.arange(length)]


def _window_samples(config: Spectrogram) -> int:
    return round(config.window_seconds * config.sample_rate)


def _hop_samples(config: Spectrogram) -> int:
    return round(config.hop_seconds * config.sample_rate)


def _fft_length(config: Spectrogram) -> int:
    """Return the length of the transform: Kaldi rounds the window up to a power of two, the others use the window."""
    length = _window_samples(config)
    return 2 ** math.ceil(math.log2(length)) if config.kind == "kaldi" else length


@functools.lru_cache(maxsize=32)
def _window(config: Spectrogram) -> np.ndarray:
    """Return the window function, `[window]` float64."""
    name, length = config.window, _window_samples(config)
    periodic = config.kind == "log_mel" and config.periodic
    # A periodic window of 4 is 0, 0.5, 1, 0.5; the symmetric one is 0, 0.75, 0.75, 0.
    phase = 2 * np.pi * np.arange(length) / (length if periodic else length - 1)
    if name == "hamming":
        return 0.54 - 0.46 * np.cos(phase)
    return (0.5 - 0.5 * np.cos(phase)) ** (POVEY_POWER if name == "povey" else 1.0)


def _mel_energy(spectrum: np.ndarray, config: Spectrogram) -> np.ndarray:
    """Return `spectrum @ filters`, `[..., T, M]`, by a sparse product: a spectrum bin is in at most two filters.

    A dense product would start the threads of the linear algebra library in each of the loader's threads.
    """
    rows = spectrum.reshape(-1, spectrum.shape[-1])
    energy = (_sparse_mel_filters(config) @ rows.T).T
    return np.ascontiguousarray(energy).reshape(*spectrum.shape[:-1], config.bins)


@functools.lru_cache(maxsize=32)
def _sparse_mel_filters(config: Spectrogram) -> scipy.sparse.csr_matrix:
    """Return the transposed filters, `[M, fft_length // 2 + 1]`."""
    return scipy.sparse.csr_matrix(_mel_filters(config).T)


@functools.lru_cache(maxsize=32)
def _mel_filters(config: Spectrogram) -> np.ndarray:
    """Return triangular mel filters, `[fft_length // 2 + 1, M]` float32.

    HTK's triangles are straight in mel, Slaney's in hertz. Kaldi's and TensorFlow's leave out the first Fourier bin,
    Kaldi's also the last.
    """
    high = config.high_hz or config.sample_rate / 2
    if not 0 <= config.low_hz < high <= config.sample_rate / 2:
        raise ValueError(
            f"mel filters from {config.low_hz} to {high} Hz do not fit a sample rate of {config.sample_rate} Hz"
        )
    slaney = config.kind == "log_mel" and config.mel == "slaney"
    to_mel = _slaney_mel if slaney else _htk_mel
    hertz = np.linspace(0.0, config.sample_rate / 2, _fft_length(config) // 2 + 1)
    edges = np.linspace(*to_mel(np.array([config.low_hz, high], np.float64)), config.bins + 2)
    bins = to_mel(hertz)
    if slaney:
        edges, bins = _slaney_hertz(edges), hertz
    # M filters share M + 2 edges: filter i rises from edge i to i + 1 and falls to i + 2.
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - left) / (centre - left)
    falling = (right - bins[:, None]) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if slaney:
        filters *= 2.0 / (right - left)
    else:
        filters[0] = 0.0
    if config.kind == "kaldi":
        filters[-1] = 0.0
    return filters.astype(np.float32)


def _htk_mel(hertz: np.ndarray) -> np.ndarray:
    """Return the mel of HTK, Kaldi and TensorFlow: 1127 ln(1 + f / 700)."""
    return 1127.0 * np.log1p(hertz / 700.0)


SLANEY_BREAK_HZ, SLANEY_STEP_HZ, SLANEY_LOG_STEP = 1000.0, 200.0 / 3.0, math.log(6.4) / 27.0
"""Slaney's mel (Auditory Toolbox, 1998) is linear to 1000 Hz, a step every 66.7 Hz, and logarithmic above."""


def _slaney_mel(hertz: np.ndarray) -> np.ndarray:
    high = SLANEY_BREAK_HZ / SLANEY_STEP_HZ + np.log(np.maximum(hertz, 1e-10) / SLANEY_BREAK_HZ) / SLANEY_LOG_STEP
    return np.where(hertz < SLANEY_BREAK_HZ, hertz / SLANEY_STEP_HZ, high)


def _slaney_hertz(mel: np.ndarray) -> np.ndarray:
    broken = SLANEY_BREAK_HZ / SLANEY_STEP_HZ
    return np.where(mel < broken, mel * SLANEY_STEP_HZ, SLANEY_BREAK_HZ * np.exp((mel - broken) * SLANEY_LOG_STEP))
