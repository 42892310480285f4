"""Random generators that depend on purpose and position, never on the process, thread or time of the draw.

Every draw comes from a Philox generator keyed by the seed of the run, the purpose and the position (epoch, position in
the epoch). Any process, thread or resumed run therefore draws the same values.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np


class RngStream(enum.IntEnum):
    """Purposes of random draws; draws of different purposes are independent."""

    PASS = 0
    EPOCH = 1
    CAPTION = 2
    ROWS = 3
    VIEW = 4
    AUGMENT = 5
    MASK = 6
    PRESENCE = 7
    MISALIGN = 8
    SHIFT = 9
    DROP = 10
    PARTNER = 11
    BLEND = 12


def generator(seed: int, purpose: RngStream, *place: int) -> np.random.Generator:
    """Return a generator for one purpose at one position, such as `(epoch,)` or `(epoch, position)`."""
    # Counter-based: creating a generator for each clip is cheap, and neighbouring keys give independent streams.
    key = np.random.SeedSequence((seed, int(purpose), *place))
    return np.random.Generator(np.random.Philox(key))


@dataclasses.dataclass(frozen=True)
class ClipRngs:
    """The generators of one clip; None for draws that an evaluation does not make."""

    view: np.random.Generator | None
    change: np.random.Generator | None
    mask: np.random.Generator
    drop: np.random.Generator
    shift: np.random.Generator


def clip_rngs(seed: int, train: bool, place: tuple[int, ...]) -> ClipRngs:
    """Return the generators of the clip at a position of an epoch."""
    view = generator(seed, RngStream.VIEW, *place) if train else None
    change = generator(seed, RngStream.AUGMENT, *place) if train else None
    return ClipRngs(
        view, change, *(generator(seed, p, *place) for p in (RngStream.MASK, RngStream.DROP, RngStream.SHIFT))
    )
