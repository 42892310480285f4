"""Choice of spectrogram and audio patches; the statistics are those of a few decoded clips."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from mmvideo.input.advice.choice import Choice, Situation, spread
from mmvideo.input.config import Audio
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning import token_counts
from mmvideo.input.spectrogram_rows import view_spectrogram

SAMPLED = 64
"""Number of clips for mean and deviation."""

BRIEF = 4.0
"""Longest view in seconds with a spectrogram row every 10 ms; longer views have one every 20 ms."""

STEPS = 2
"""Consecutive patches that all clips but the shortest tenth should have."""

LEAST = 0.1
"""Smallest deviation of log energies that is normalised; less means silence or a single tone."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of the log energies of a corpus.

    Attributes:
      mean, deviation: over all rows and bins.
      clips: number of clips decoded.
      lost: number of them that could not be read.
    """

    mean: float
    deviation: float
    clips: int
    lost: int


def choose_audio(now: Situation) -> Choice | None:
    """Choose `audio`: None if no clip has audio."""
    if now.input.audio is None or now.corpus.has_audio.any():
        return None
    return Choice(None, "no clip has audio")


def choose_hop(now: Situation) -> Choice | None:
    """Choose `audio.spectrogram.hop_seconds`: 10 ms, or 20 ms for long views."""
    audio = now.input.audio
    if audio is None or audio.waveform:
        return None
    hop = 0.01 if audio.seconds <= BRIEF else 0.02
    return Choice(hop, f"{audio.seconds / hop:.0f} rows in {audio.seconds:g} s")


def choose_window(now: Situation) -> Choice | None:
    """Choose `audio.spectrogram.window_seconds`: two to two and a half times the hop."""
    audio = now.input.audio
    if audio is None or audio.waveform:
        return None
    hop = audio.spectrogram.hop_seconds
    return Choice(0.025 if hop <= 0.01 else 2 * hop, f"a row every {1000 * hop:g} ms")


def choose_patch(now: Situation) -> Choice | None:
    """Choose `audio.patch`: 16 rows, or 8 if short audio would be a single patch of 16."""
    audio = now.input.audio
    if audio is None or audio.waveform:
        return None
    lengths = np.minimum(now.corpus.seconds[now.corpus.has_audio], audio.seconds)
    rows = np.quantile(lengths, 0.1) / audio.spectrogram.hop_seconds
    high = 16 if rows >= STEPS * 16 else 8
    bins = min(16, audio.spectrogram.bins)
    return Choice((high, bins), f"audio lasts {spread(lengths, 's')}, a patch {high * audio.spectrogram.hop_seconds:g}")


def choose_mean(now: Situation) -> Choice | None:
    """Choose `audio.spectrogram.mean`: that of the log energies of some clips."""
    return _of_statistics(now, "mean")


def choose_deviation(now: Situation) -> Choice | None:
    """Choose `audio.spectrogram.deviation`: that of the log energies of some clips."""
    return _of_statistics(now, "deviation")


@functools.lru_cache(maxsize=4)
def statistics(corpus: CorpusMixture, audio: Audio) -> Statistics | None:
    """Return mean and deviation of the log energies in the middle of some clips; None if none can be read.

    The same corpus always gives the same clips, which are decoded once.

    Args:
      corpus: the clips.
      audio: the settings, with a spectrogram of mean 0 and deviation 1.
    """
    clips = np.flatnonzero(corpus.has_audio)
    drawn = np.sort(np.random.default_rng(0).permutation(clips)[:SAMPLED])
    found = [_log_energies(corpus, int(number), audio) for number in drawn]
    rows = [one for one in found if one is not None]
    if not rows:
        return None
    every = np.concatenate([one.ravel() for one in rows]).astype(np.float64)
    deviation = float(every.std())
    return Statistics(float(every.mean()), deviation, len(drawn), len(drawn) - len(rows))


def _log_energies(corpus: CorpusMixture, number: int, audio: Audio) -> np.ndarray | None:
    """Return the log energies of a clip's middle; None if it cannot be read."""
    from mmvideo.media.decode import MediaError, decode

    length = min(float(corpus.seconds[number]), audio.seconds)
    start = (float(corpus.seconds[number]) - length) / 2
    try:
        media = corpus.record(number).media
        clip = decode(media, start=start, end=start + length, sample_rate=audio.hertz, video=False)
    except (MediaError, ValueError):
        return None
    one = np.array([length])
    planned, steps = token_counts.samples(one, audio), token_counts.audio_steps(one, audio)
    return view_spectrogram(clip.samples, int(planned[0]), int(steps[0]), audio)


def _of_statistics(now: Situation, name: str) -> Choice | None:
    audio = now.input.audio
    if audio is None or audio.waveform:
        return None
    plain = dataclasses.replace(audio.spectrogram, mean=0.0, deviation=1.0)
    found = statistics(now.corpus, dataclasses.replace(audio, spectrogram=plain))
    if found is None:
        return None
    why = f"of the log energies of {found.clips} clips"
    if found.lost:
        why += f", {found.lost} of which can't be read"
    if name == "deviation" and found.deviation < LEAST:
        return Choice(1.0, f"{why} vary by {found.deviation:.2g} alone: silence?")
    return Choice(round(getattr(found, name), 3), why)
