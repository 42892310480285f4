"""Synthesis of a clip's audio: an instrument plays a melody, every bounce beeps (in or out of time), and there is
noise.

The instruments are additive (a few partials each). All their partials are below 4 kHz, and the beep is a short burst at
5.5 kHz, so beep and melody never share a band.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mmvideo.datasets.shapes.attributes import Attributes
from mmvideo.datasets.shapes.config import ShapesConfig

SCALE = np.array([0, 2, 4, 7, 9])
"""semitones of the major pentatonic scale within an octave"""
LADDER = 15
"""notes that a melody climbs or falls before it starts again: three octaves, above which nothing would be audible"""
NOTE = 0.25
"""seconds from one note of a melody to the next"""
BEEP_HERTZ = 5500.0
BEEP_DECAY = 0.025
"""seconds in which a beep decays to 1/e"""


@dataclasses.dataclass(frozen=True)
class Timbre:
    """An instrument: partials (ratio to the fundamental, amplitude), vibrato, and whether it is struck or held."""

    ratios: tuple[float, ...]
    amplitudes: tuple[float, ...]
    vibrato: float = 0.0
    """depth relative to the frequency, at 5.5 Hz"""
    struck: bool = False
    """whether notes decay from their onset, higher partials sooner; held notes keep their loudness"""


INSTRUMENTS = {
    "flute": Timbre((1.0, 2.0), (1.0, 0.08), vibrato=0.004),
    "clarinet": Timbre((1.0, 3.0, 5.0, 7.0), (1.0, 0.75, 0.5, 0.3)),
    "violin": Timbre((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), (0.7, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3), vibrato=0.012),
    "bell": Timbre((1.0, 2.76, 5.4, 8.9), (0.7, 1.0, 0.8, 0.5), struck=True),
}


def synthesise(config: ShapesConfig, attributes: Attributes, rng: np.random.Generator) -> Float[np.ndarray, "S"]:
    """Return the audio of a clip, mono float32 in [-1, 1] at `config.sample_rate`."""
    hard, rate = config.difficulty, config.sample_rate
    samples = round(attributes.seconds * rate)
    sound = play(attributes.melody, attributes.timbre, samples, rate, hard, rng)
    # Equal loudness of all instruments, so that loudness does not reveal the timbre.
    sound *= 0.14 / np.sqrt(np.mean(sound**2))
    sound += 0.4 * _beeps(attributes.beeps, samples, rate)
    sound *= 10 ** (-rng.uniform(0, 10 * hard) / 20)
    sound += (0.0005 + 0.03 * hard**1.5) * rng.standard_normal(samples, np.float32)
    return (sound * min(1.0, 0.95 / np.abs(sound).max())).astype(np.float32)


def play(
    melody: str, timbre: str, samples: int, rate: int, hard: float, rng: np.random.Generator
) -> Float[np.ndarray, "S"]:
    """Return the audio of an instrument that plays a melody, not yet scaled."""
    note = NOTE * (1 + 0.25 * hard * rng.uniform(-1, 1))
    t = np.arange(samples) / rate
    count = int(np.ceil(samples / rate / note))
    degrees = np.arange(count) % LADDER
    # Degrees 0 to 6 are 0, 2, 4, 7, 9, 12 and 14 semitones above the lowest note.
    ladder = SCALE[degrees % len(SCALE)] + 12.0 * (degrees // len(SCALE))
    index = np.minimum((t / note).astype(np.int64), count - 1)
    held = np.full(count, rng.choice(ladder))
    match melody:
        case "rising":
            pitch, length = ladder, note
        case "falling":
            pitch, length = ladder[::-1], note
        case "steady":
            pitch, length, index = held, samples / rate, np.zeros(samples, np.int64)
        case "pulsing":
            pitch, length = held, 0.5 * note
        case other:
            raise ValueError(f"shapes: no melody is called {other!r}")
    lowest = 260 * 2 ** ((2 + 8 * hard) / 12 * rng.uniform(-1, 1))
    since = t - index * note
    return _voice(INSTRUMENTS[timbre], lowest * 2 ** (pitch[index] / 12), since, length, t)


def _voice(timbre: Timbre, hertz: np.ndarray, since: np.ndarray, length: float, t: np.ndarray) -> np.ndarray:
    """Return the sum of the partials of notes of `length` seconds that began `since` seconds ago."""
    hertz = hertz * (1 + timbre.vibrato * np.sin(2 * np.pi * 5.5 * t))
    # The phase is the integral of the frequency, so vibrato and new notes do not jump.
    turns = np.cumsum(hertz) * (t[1] - t[0])
    # Notes fade in over 12 ms and out over 20 ms, which avoids clicks.
    gate = np.clip(np.minimum(since / 0.012, (length - since) / 0.02), 0, 1).astype(np.float32)
    sound = np.zeros(len(t), np.float32)
    for ratio, amplitude in zip(timbre.ratios, timbre.amplitudes, strict=True):
        # Partials fade out from 3600 to 4000 Hz, which keeps the band of the beep free.
        audible = np.clip((4000 - ratio * hertz) / 400, 0, 1)
        phase = ratio * turns
        partial = np.sin((2 * np.pi * (phase - np.floor(phase))).astype(np.float32))
        if timbre.struck:
            fade = max(0.14, 0.5 * length) / np.sqrt(ratio)
            partial *= np.exp(-since / fade).astype(np.float32)
        sound += (amplitude * audible).astype(np.float32) * partial
    return sound * gate


def _beeps(times: tuple[float, ...], samples: int, rate: int) -> np.ndarray:
    """Return a burst of 80 ms at each time, cut off at the clip's end."""
    t = np.arange(round(0.08 * rate)) / rate
    burst = (np.sin(2 * np.pi * BEEP_HERTZ * t) * np.exp(-t / BEEP_DECAY)).astype(np.float32)
    sound = np.zeros(samples + len(burst), np.float32)
    for time in times:
        start = round(time * rate)
        sound[start : start + len(burst)] += burst
    return sound[:samples]
