"""The peer of `input.py`: from clips to batches of padded patches by PyAV and a torch `DataLoader`, in one process.

It does the same as mmvideo's loader for a clip, as one would write it in PyTorch: open the file, decode frames and
audio, select the frames of a random view, scale and crop them, resample and cut the audio, compute its log-mel
spectrogram, cut both into patches, draw a mask, encode a caption, and collate clips. It reads no records, packs no rows
and computes no indices: its clips are in memory, and batches are padded.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from mmvideo.input.config import Audio, Masking, Video


class ClipDataset(torch.utils.data.Dataset):
    """Clips in memory, each with its captions.

    Args:
      media: the bytes of every file.
      captions: the captions of every clip; may be empty.
      encode: function from a caption to its token ids.
      video, audio, masking: settings of `Input`.
    """

    def __init__(
        self,
        media: Sequence[bytes],
        captions: Sequence[Sequence[str]],
        encode: Any,
        video: Video,
        audio: Audio,
        masking: Masking,
    ):
        self.media, self.captions, self.encode = media, captions, encode
        self.video, self.audio, self.masking = video, audio, masking
        settings = audio.spectrogram
        self.window = round(settings.window_seconds * settings.sample_rate)
        self.hop = round(settings.hop_seconds * settings.sample_rate)
        self.length = 1 << (self.window - 1).bit_length()
        self.filters = mel_filters(settings.bins, self.length // 2 + 1, settings.sample_rate)
        self.taper = torch.hann_window(self.window)

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, number: int) -> dict[str, torch.Tensor]:
        """Return the tokens of a clip by modality, and their masks."""
        found, rng = {}, np.random.default_rng()
        with av.open(io.BytesIO(self.media[number])) as container:
            for stream in container.streams:
                stream.codec_context.thread_count = 1
            frames, sound = self._decoded(container)
        start = 0.0
        if frames:
            end = frames[-1][0] + 1 / self.video.fps
            count = max(min(int(end * self.video.fps), self.video.frames) // self.video.tubelet[0], 1)
            count *= self.video.tubelet[0]
            start = max(end - count / self.video.fps, 0.0) * rng.random()
            found["video"] = self._patches(self._pictures(frames, start, count, rng))
            found["video_hidden"] = self._hidden(len(found["video"]), self.masking.video)
        if sound is not None:
            found["audio"] = self._heard(sound, start)
            found["audio_hidden"] = self._hidden(len(found["audio"]), self.masking.audio)
        if self.captions[number]:
            found["text"] = torch.tensor(self.encode(str(rng.choice(self.captions[number]))))
            found["text_hidden"] = self._hidden(len(found["text"]), self.masking.text)
        return found

    def _decoded(self, container: Any) -> tuple[list[tuple[float, Any]], torch.Tensor | None]:
        """Decode all frames with their times, and all audio at the rate of the spectrogram."""
        frames, parts = [], []
        resampler = av.AudioResampler("flt", "mono", self.audio.spectrogram.sample_rate)
        for packet in container.demux():
            for frame in packet.decode():
                if packet.stream.type == "video":
                    frames.append((frame.time, frame))
                else:
                    parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        if parts:
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
        return frames, torch.from_numpy(np.concatenate(parts)) if parts else None

    def _pictures(self, frames: list[tuple[float, Any]], start: float, count: int, rng: Any) -> torch.Tensor:
        """Return the frames of a view, scaled and cropped to a square: `[T, H, W, 3]`."""
        times, side = np.array([time for time, _ in frames]), self.video.size
        wanted = start + (np.arange(count) + 0.5) / self.video.fps
        chosen = np.maximum(np.searchsorted(times, wanted, side="right") - 1, 0)
        width, height = frames[0][1].width, frames[0][1].height
        scale = side / min(width, height)
        width, height = max(side, round(width * scale)), max(side, round(height * scale))
        top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
        made: dict[int, np.ndarray] = {}
        for place in chosen.tolist():
            if place not in made:
                frame = frames[place][1].reformat(width, height, "rgb24", interpolation="BICUBIC")
                made[place] = frame.to_ndarray()[top : top + side, left : left + side]
        return torch.from_numpy(np.stack([made[place] for place in chosen.tolist()]))

    def _patches(self, frames: torch.Tensor) -> torch.Tensor:
        """Cut frames into tubelets, `[N, P]`."""
        t, y, x = self.video.tubelet
        steps, rows, columns = frames.shape[0] // t, frames.shape[1] // y, frames.shape[2] // x
        parts = frames.reshape(steps, t, rows, y, columns, x, 3).permute(0, 2, 4, 1, 3, 5, 6)
        return parts.reshape(steps * rows * columns, -1)

    def _heard(self, sound: torch.Tensor, start: float) -> torch.Tensor:
        """Return patches of the normalised log-mel spectrogram of a view's audio, `[N, P]`."""
        settings = self.audio.spectrogram
        first = int(start * settings.sample_rate)
        sound = sound[first : first + int(self.audio.seconds * settings.sample_rate)]
        sound = pad(sound, (0, max(self.window - len(sound), 0)))
        spectrum = torch.stft(sound, self.length, self.hop, self.window, self.taper, center=False, return_complex=True)
        mel = torch.log((spectrum.abs() ** 2).T @ self.filters + 1e-6)
        mel = (mel - settings.mean) / settings.deviation
        t, m = self.audio.patch
        mel = pad(mel, (0, 0, 0, max(t - len(mel), 0)))
        rows, bands = len(mel) // t, mel.shape[1] // m
        return mel[: rows * t, : bands * m].reshape(rows, t, bands, m).permute(0, 2, 1, 3).reshape(rows * bands, -1)

    def _hidden(self, tokens: int, share: float) -> torch.Tensor:
        """Draw a mask of tokens."""
        hidden = torch.zeros(tokens, dtype=torch.bool)
        hidden[torch.randperm(tokens)[: round(share * tokens)]] = True
        return hidden


def mel_filters(bins: int, lines: int, sample_rate: int) -> torch.Tensor:
    """Return triangles on the mel scale (2595 log10(1 + f / 700)), `[lines, bins]`."""
    edges = 700 * (10 ** (torch.linspace(0, 2595 * np.log10(1 + sample_rate / 2 / 700), bins + 2) / 2595) - 1)
    hertz = torch.linspace(0, sample_rate / 2, lines)[:, None]
    up, down = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2]), (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return torch.minimum(up, down).clamp(min=0)


def padded(clips: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Collate a batch: the clips' tokens of each modality, padded to the longest."""
    names = sorted({name for clip in clips for name in clip})
    return {name: pad_sequence([clip[name] for clip in clips if name in clip], batch_first=True) for name in names}


def loader(dataset: ClipDataset, batch: int) -> torch.utils.data.DataLoader:
    """Return a loader of shuffled batches in this process, with one thread."""
    torch.set_num_threads(1)
    return torch.utils.data.DataLoader(dataset, batch, shuffle=True, num_workers=0, collate_fn=padded)
