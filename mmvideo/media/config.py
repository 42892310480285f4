"""Settings of media: limits of a file, and spectrograms."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of what is read, which every real film respects; a file beyond them is refused before it takes memory.

    Attributes:
      pixels: largest width times height of a frame; 8K is half of the default.
      seconds: longest duration of a file, in seconds.
      gap: longest time from one time stamp of a track to the next, in seconds.
      lowest_rate, highest_rate: range of audio sample rates, in Hz.
      frame_bytes: largest size in bytes of the RGB frames, and of the samples, that one call decodes and returns.
    """

    pixels: int = 8192 * 8192
    seconds: float = 8 * 3600.0
    gap: float = 3600.0
    lowest_rate: int = 1000
    highest_rate: int = 768000
    frame_bytes: int = 4 << 30


LIMITS = Limits()
"""The default limits."""


@dataclasses.dataclass(frozen=True)
class Spectrogram:
    """A spectrogram: Kaldi filter banks (AST, AudioMAE, CAV-MAE) or log-mel (VATT, MBT, MERLOT Reserve).

    Attributes:
      kind: `kaldi` follows Kaldi's fbank (pre-emphasis, DC removal, mel in Kaldi's scale, log of power);
        `log_mel` follows the short-time Fourier transform with a mel filter bank and a log.
      sample_rate: sample rate of the input audio, in Hz.
      window_seconds: length of a window, in seconds.
      hop_seconds: time from one window to the next, in seconds; a spectrogram has `1 / hop_seconds` rows a second.
      bins: number of mel bins, `M`.
      window: shape of the window.
      low_hz: lower edge of the lowest mel filter, in Hz.
      high_hz: upper edge of the highest mel filter, in Hz; None is half the sample rate.
      mean: value subtracted from the log energies.
      deviation: divisor of the log energies after that (AST divides by twice its statistic).
      mel: for `log_mel`: HTK's mel scale with filters of height one (TensorFlow's), or Slaney's
        with filters of area one (librosa's). Kaldi's scale is HTK's.
      spectrum: for `log_mel`: input of the filters, magnitudes or powers. Kaldi's filters sum powers.
      offset: for `log_mel`: constant added before the log. Kaldi has a floor of 2^-23 instead.
      floor: for `log_mel`: smallest energy before the log (Whisper, CLAP: 1e-10); None for no floor.
      drop: for `log_mel`: range below the loudest log energy of the audio to which lower ones are raised (Whisper:
        8 ln 10); None leaves them.
      periodic: for `log_mel`: whether the window is periodic, as if cut from a longer one. Kaldi's is symmetric.
      edges: for `log_mel`: `end` starts a window at every hop and reads silence after the end (TensorFlow's `pad_end`);
        `centre` centres a window on every hop, with padding at both ends (librosa); `centre_cut` leaves out the last of
        those, as Whisper does. Kaldi keeps only windows that fit in the audio.
      padding: for `centre` and `centre_cut`: content beyond the ends, `silence` or the reversed audio (`reflect`;
        Whisper, CLAP).
    """

    kind: Literal["kaldi", "log_mel"] = "kaldi"
    sample_rate: int = 16000
    window_seconds: float = 0.025
    hop_seconds: float = 0.010
    bins: int = 128
    window: Literal["hann", "hamming", "povey"] = "hann"
    low_hz: float = 20.0
    high_hz: float | None = None
    mean: float = -4.2677393
    deviation: float = 9.1379948
    mel: Literal["htk", "slaney"] = "htk"
    spectrum: Literal["magnitude", "power"] = "magnitude"
    offset: float = 1e-6
    periodic: bool = True
    edges: Literal["end", "centre", "centre_cut"] = "end"
    floor: float | None = None
    drop: float | None = None
    padding: Literal["silence", "reflect"] = "silence"


AST = Spectrogram(mean=-4.2677393, deviation=2 * 4.5689974)
"""AST (Gong et al. 2021, section 3.1; its dataloader halves the deviation's effect by a factor two)."""

AUDIO_MAE = Spectrogram(mean=-4.2677393, deviation=2 * 4.5689974)
"""AudioMAE (Huang et al. 2022, section 4.1): the same filter banks and statistics as AST."""

CAV_MAE = Spectrogram(mean=-5.081, deviation=4.4849)
"""CAV-MAE (Gong et al. 2023, section 4): AST's filter banks, its own statistics, no factor two."""

VATT = Spectrogram(
    kind="log_mel", sample_rate=48000, window_seconds=2048 / 48000, hop_seconds=1024 / 48000, bins=80,
    low_hz=80.0, high_hz=7600.0, mean=0.0, deviation=1.0,
)  # fmt: skip
"""VATT's spectrogram variant (Akbari et al. 2021, appendix): 42 ms windows every 21 ms, DMVR's defaults."""

MBT = Spectrogram(kind="log_mel", window="hamming", low_hz=80.0, high_hz=7600.0, mean=1.102, deviation=2.762)
"""MBT (Nagrani et al. 2021, section 4.2): 25 ms Hamming windows every 10 ms, 128 bins; statistics of its
public config. It publishes no filter edges, spectrum or offset: these are the defaults of DMVR, its reader."""

MERLOT_RESERVE = Spectrogram(
    kind="log_mel", sample_rate=22050, window_seconds=1536 / 22050, hop_seconds=588 / 22050, bins=64,
    low_hz=20.0, high_hz=11025.0, mean=-2.302585092994046, deviation=1.0, mel="slaney", spectrum="power",
    offset=0.1, periodic=False, edges="centre",
)  # fmt: skip
"""MERLOT Reserve (Zellers et al. 2022, section 3.2): librosa's, as log(power + 0.1) - log(0.1).

The original first scales each audio to a peak of one, which is left to the caller.
"""

WHISPER = Spectrogram(
    kind="log_mel", bins=80, low_hz=0.0, high_hz=8000.0, mean=-4 * math.log(10), deviation=4 * math.log(10),
    mel="slaney", spectrum="power", offset=0.0, edges="centre_cut", floor=1e-10, drop=8 * math.log(10),
    padding="reflect",
)  # fmt: skip
"""Whisper (Radford et al. 2022, section 2.2; its code, `log_mel_spectrogram`): (log10 + 4) / 4, of audio padded with
silence to 30 s."""

CLAP = Spectrogram(
    kind="log_mel", sample_rate=48000, window_seconds=1024 / 48000, bins=64, low_hz=0.0, high_hz=14000.0, mean=0.0,
    deviation=math.log(10) / 10, mel="slaney", spectrum="power", offset=0.0, edges="centre", floor=1e-10,
    padding="reflect",
)  # fmt: skip
"""CLAP (Wu et al. 2023; the defaults of transformers' `ClapFeatureExtractor` where it does not fuse): decibels."""
