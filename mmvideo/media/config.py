"""Settings of the media room: how sound becomes a spectrogram."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Spectrogram:
    """A spectrogram: Kaldi filter banks (AST, AudioMAE, CAV-MAE) or log-mel (VATT, MBT, MERLOT Reserve).

    Attributes:
      kind: `kaldi` follows Kaldi's fbank (pre-emphasis, DC removal, mel in Kaldi's scale, log of power);
        `log_mel` follows the short-time Fourier transform with a mel filter bank and a log.
      sample_rate: samples a second of the sound that comes in.
      window_seconds: length of a window.
      hop_seconds: time from one window to the next; a spectrogram has `1 / hop_seconds` rows a second.
      bins: mel bins, `M`.
      window: shape of the window.
      low_hz: lower edge of the lowest mel filter.
      high_hz: upper edge of the highest; None is half the sample rate.
      mean: subtracted from the log energies.
      deviation: the log energies are divided by it after that (AST divides by twice its statistic).
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
    deviation: float = 9.1379946
