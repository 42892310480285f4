"""Make `tests/media/golden/spectrograms.npz`: spectrograms of one audio signal by other libraries.

    pip install torch torchaudio kaldi-native-fbank librosa
    python tools/golden/spectrograms.py

- `ast`, `kaldi_hamming`: torchaudio's Kaldi filter banks, as AST, AudioMAE and CAV-MAE call them, in float64;
- `kaldi_80`: kaldi-native-fbank, Kaldi's own C++, of the noise alone: it works in float32, which is accurate
  to only 1e-2 for a clear tone (and it refuses 128 bins at 16 kHz, because some are empty);
- `merlot_reserve`: librosa, with the arguments of MERLOT Reserve, in float64;
- `vatt`, `mbt`: DMVR's arithmetic on TensorFlow's definitions, term by term in float64, since DMVR needs TensorFlow.

The values are logs before any normalisation; `samples` is the audio, float32.
"""

import math
from pathlib import Path

import kaldi_native_fbank
import librosa
import numpy as np
import scipy.signal
import torch
import torchaudio

TARGET = Path(__file__).parents[2] / "tests" / "media" / "golden" / "spectrograms.npz"


NOISE = slice(4000, 7800)


def sound() -> np.ndarray:
    """Return a rising tone, then noise, then a click in silence: 9,800 samples, an odd number of hops."""
    random = np.random.default_rng(7)
    time = np.arange(4000) / 16000
    tone = 0.5 * np.sin(2 * np.pi * (200 * time + 6000 * time**2))
    noise = 0.1 * random.standard_normal(3800)
    click = np.zeros(2000)
    click[1000] = 0.9
    return np.concatenate([tone, noise, click]).astype(np.float32)


def torchaudio_fbank(samples: np.ndarray, window: str) -> np.ndarray:
    wave = torch.from_numpy(samples).double()
    return torchaudio.compliance.kaldi.fbank(
        (wave - wave.mean())[None], htk_compat=True, sample_frequency=16000, use_energy=False,
        window_type=window, num_mel_bins=128, dither=0.0, frame_shift=10,
    ).numpy()  # fmt: skip


def kaldi_fbank(samples: np.ndarray) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.dither = 16000, 0
    options.frame_opts.window_type = "povey"
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = 80, 20, 0
    options.use_energy = False
    bank = kaldi_native_fbank.OnlineFbank(options)
    bank.accept_waveform(16000, samples.tolist())
    bank.input_finished()
    return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])


def librosa_log_mel(samples: np.ndarray) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=samples.astype(np.float64), sr=22050, n_mels=64, n_fft=1536, hop_length=588,
        window=scipy.signal.windows.hann, fmin=20.0, fmax=11025.0, dtype=np.float64,
    )  # fmt: skip
    return np.log(mel + 0.1).T


def dmvr_log_mel(samples, rate, length, hop, bins, low, high, hamming) -> np.ndarray:
    """Return log(mel magnitude + 1e-6): a window per hop, silence after the end, triangles in mel, no constant bin."""
    alpha = 0.54 if hamming else 0.5
    window = np.array([alpha - (1 - alpha) * math.cos(2 * math.pi * n / length) for n in range(length)])
    angles = np.outer(np.arange(length), np.arange(length // 2 + 1)) * (-2 * math.pi / length)
    padded = np.concatenate([samples.astype(np.float64), np.zeros(length)])
    rows = [padded[at : at + length] * window for at in range(0, len(samples), hop)]
    magnitude = np.stack([np.hypot(row @ np.cos(angles), row @ np.sin(angles)) for row in rows])

    def mel(hertz):
        return 1127.0 * math.log(1.0 + hertz / 700.0)

    step = (mel(high) - mel(low)) / (bins + 1)
    weights = np.zeros((length // 2 + 1, bins))
    for row in range(1, length // 2 + 1):
        for column in range(bins):
            distance = abs(mel(row * rate / length) - (mel(low) + (column + 1) * step)) / step
            weights[row, column] = max(0.0, 1.0 - distance)
    return np.log(magnitude @ weights + 1e-6)


def main() -> None:
    samples = sound()
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    values = dict(
        ast=torchaudio_fbank(samples, "hanning"),
        kaldi_hamming=torchaudio_fbank(samples, "hamming"),
        kaldi_80=kaldi_fbank(samples[NOISE]),
        merlot_reserve=librosa_log_mel(samples),
        vatt=dmvr_log_mel(samples, 48000, 2048, 1024, 80, 80.0, 7600.0, hamming=False),
        mbt=dmvr_log_mel(samples, 16000, 400, 160, 128, 80.0, 7600.0, hamming=True),
    )
    # Float32 holds logs of this size to 1e-6, and halves the file.
    np.savez_compressed(TARGET, samples=samples, **{name: v.astype(np.float32) for name, v in values.items()})
    print(f"{TARGET}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
