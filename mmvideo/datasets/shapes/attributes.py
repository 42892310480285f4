"""Attributes of a clip, defined before rendering: their distribution, and their labels.

Distribution. Shape, colour, motion and melody are uniform and independent of each other. The instrument is the shape's
own (`OWN_TIMBRE`) with probability `tie` and otherwise any of the four, so P(timbre) is
tie * |shapes that own it| / 6 + (1 - tie) / 4. With six shapes and four instruments it cannot be uniform: two
instruments are owned twice.

`joint`: three motions travel through the frame and three stay in place; two melodies travel in pitch and two stay on
their note. Motion and melody agree when both travel or both stay. Motion and melody are independent, so
P(agree | motion) = 2/4 and P(agree | melody) = 3/6: each alone is exactly at chance.

`sync`: with any motion, a shape bounces once in each `period`, first at `phase` (in eighths of the period). The beeps
have the same period. In time, their phase is that of the bounces. Out of time, it is shifted by 3, 4 or 5 eighths
modulo the period, so every beep is at least 3/8 of a period (0.225 s) from every bounce. The phase of the bounces is
uniform, so that of the beeps is uniform in both cases: each alone is exactly at chance.

`elements` are colour, shape and instrument, `verb` is the motion, `noun` the shape, and `instrument` the timbre, which
is plainly audible and, as far as the shape determines it, visible. `mood` is the sum of contributions of the motion
(`MOVED`) and the melody (`SUNG`), from -3 to 3 around 0, so video and audio each determine a part of it. The best
prediction from video alone correlates with it at sqrt(35/72.5) = 0.695, from audio alone at 0.719.

Draws come from raw PCG64 words, whose stream NumPy guarantees on every platform and in every version; the attributes of
a seed are therefore the same everywhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
from jaxtyping import Float

from mmvideo.datasets.shapes.config import ShapesConfig

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
MOTIONS = ("climbs", "descends", "zigzags", "bounces", "slides", "swells")
TIMBRES = ("flute", "clarinet", "violin", "bell")
MELODIES = ("rising", "falling", "steady", "pulsing")
TRAVELLING = frozenset({"climbs", "descends", "zigzags", "rising", "falling"})
OWN_TIMBRE = {
    "circle": "bell",
    "square": "clarinet",
    "triangle": "flute",
    "star": "violin",
    "cross": "clarinet",
    "ring": "bell",
}
PERIODS = (0.6, 0.7, 0.8)
"""seconds between bounces"""
PHASES = 8
"""equally likely phases of the first bounce within a period"""
OFFBEAT = (3, 4, 5)
"""shift of beeps out of time, in eighths of a period"""

LABELS = {
    "visual": MOTIONS,
    "audio": tuple(f"{melody} {timbre}" for melody in MELODIES for timbre in TIMBRES),
    "joint": ("disagree", "agree"),
    "sync": ("out of time", "in time"),
}
"""classes of each label, in order"""

MOVED = {"climbs": 1.5, "bounces": 1.0, "swells": 0.5, "slides": -0.5, "zigzags": -1.0, "descends": -1.5}
SUNG = {"rising": 1.5, "pulsing": 0.5, "steady": -0.5, "falling": -1.5}
"""contributions of motions and melodies to the mood"""


@dataclasses.dataclass(frozen=True)
class Attributes:
    """Attributes of one clip. `phase` and `beep_phase` count eighths of `period`; times are in seconds."""

    split: str
    index: int
    shape: str
    colour: str
    motion: str
    timbre: str
    melody: str
    period: float
    phase: int
    beep_phase: int
    frames: int
    fps: int

    @property
    def id(self) -> str:
        return f"{self.split}-{self.index:06d}"

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    @property
    def bounces(self) -> tuple[float, ...]:
        return event_times(self.period, self.phase, self.seconds)

    @property
    def beeps(self) -> tuple[float, ...]:
        return event_times(self.period, self.beep_phase, self.seconds)

    @property
    def joint(self) -> bool:
        return (self.motion in TRAVELLING) == (self.melody in TRAVELLING)

    @property
    def sync(self) -> bool:
        return self.phase == self.beep_phase

    @property
    def labels(self) -> dict[str, str]:
        """The class of every label, by name."""
        return {
            "visual": self.motion,
            "audio": f"{self.melody} {self.timbre}",
            "joint": LABELS["joint"][self.joint],
            "sync": LABELS["sync"][self.sync],
        }

    @property
    def annotations(self) -> dict[str, str | list[str] | float]:
        """All labels of the manifest.

        They are every label, the heads `verb`, `noun` and `instrument`, several `elements` and the number `mood`.
        """
        elements = [self.colour, self.shape, self.timbre]
        heads = {"verb": self.motion, "noun": self.shape, "instrument": self.timbre}
        return self.labels | heads | {"elements": elements, "mood": self.mood}

    @property
    def mood(self) -> float:
        """Mood from -3 to 3."""
        return MOVED[self.motion] + SUNG[self.melody]

    def as_dict(self) -> dict[str, Any]:
        """Return the manifest's attributes: all draws and values that follow from them, as JSON values for the
        oracle."""
        drawn = dataclasses.asdict(self)
        times = {"bounces": list(self.bounces), "beeps": list(self.beeps)}
        return drawn | {"seconds": round(self.seconds, 6), "joint": self.joint, "sync": self.sync} | times


def event_times(period: float, phase: int, seconds: float) -> tuple[float, ...]:
    """Return the times in seconds of one event a period in a clip of `seconds`; half an eighth keeps the first off
    the edge."""
    # Period 0.8 s and phase 2: (2 + 0.5) / 8 * 0.8 = 0.25 s, then 1.05 s; a clip of 1.6 s has these two events.
    first = (phase + 0.5) / PHASES * period
    # Tolerance: an event exactly at the end of the clip does not count.
    count = int(np.ceil((seconds - first) / period - 1e-9))
    return tuple(round(first + period * k, 6) for k in range(count))


def timbre_given_shape(tie: float) -> Float[np.ndarray, "6 4"]:
    """Return P(timbre | shape), rows in the order of `SHAPES` and columns in that of `TIMBRES`."""
    # tie 0.8: the own instrument has 0.8 + 0.2 / 4 = 0.85, each other 0.05.
    own = np.array([[OWN_TIMBRE[shape] == timbre for timbre in TIMBRES] for shape in SHAPES], np.float64)
    return tie * own + (1 - tie) / len(TIMBRES)


def beep_phase_given_phase() -> Float[np.ndarray, "8 8"]:
    """Return P(phase of the beeps | phase of the bounces)."""
    shift = np.zeros(PHASES)
    shift[0] = 0.5
    # Half in time, half out of time: shift 0 has 0.5, shifts 3, 4 and 5 have 1/6 each.
    shift[list(OFFBEAT)] = 0.5 / len(OFFBEAT)
    return np.stack([np.roll(shift, phase) for phase in range(PHASES)])


def split_key(split: str) -> int:
    """Return a number that represents a split's name in every seed."""
    return int.from_bytes(hashlib.blake2b(split.encode(), digest_size=6).digest(), "little")


def uniforms(key: tuple[int, ...], count: int) -> Float[np.ndarray, "n"]:
    """Return `count` values in [0, 1), the same on every platform; a larger count begins with the same values."""
    words = np.random.PCG64(np.random.SeedSequence(key)).random_raw(count)
    # The upper 53 of 64 bits, as many as a float64 holds exactly.
    return (words >> np.uint64(11)) * 2.0**-53


def draw(config: ShapesConfig, split: str, clips: int) -> list[Attributes]:
    """Draw the attributes of the first `clips` clips of a split.

    Raises:
        ValueError: the number of clips is negative.
    """
    if clips < 0:
        raise ValueError(f"shapes: split {split!r} can't have {clips} clips")
    # 11 draws for each clip, used or not, so that clip i does not depend on the draws of others.
    table = uniforms((config.seed, split_key(split)), clips * 11).reshape(clips, 11)
    return [_clip(config, split, index, row) for index, row in enumerate(table)]


def _clip(config: ShapesConfig, split: str, index: int, row: np.ndarray) -> Attributes:
    def pick(column: int, choices):
        return choices[int(row[column] * len(choices))]

    shape = pick(0, SHAPES)
    phase = pick(7, range(PHASES))
    in_time = row[8] < 0.5
    return Attributes(
        split=split,
        index=index,
        shape=shape,
        colour=pick(1, COLOURS),
        motion=pick(2, MOTIONS),
        melody=pick(3, MELODIES),
        timbre=OWN_TIMBRE[shape] if row[4] < config.tie else pick(5, TIMBRES),
        period=pick(6, PERIODS),
        phase=phase,
        beep_phase=phase if in_time else (phase + pick(9, OFFBEAT)) % PHASES,
        frames=pick(10, config.frame_counts),
        fps=config.fps,
    )
