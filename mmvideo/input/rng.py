"""Random numbers that depend on what they are for and where, never on who draws them or when.

Every draw comes from a Philox generator keyed by the seed of the run, the purpose and the place
(epoch, position in the epoch), so that any process, thread or resumed run draws the same.
"""

from __future__ import annotations

import dataclasses
import enum

import numpy as np


class RngStream(enum.IntEnum):
    """What numbers are drawn for; numbers of different purposes are independent."""

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
    """A generator for one purpose at one place, such as `(epoch,)` or `(epoch, position)`."""
    key = np.random.SeedSequence((seed, int(purpose), *place))
    return np.random.Generator(np.random.Philox(key))


@dataclasses.dataclass(frozen=True)
class ClipRngs:
    """The generators of one clip; None where nothing is drawn, in evaluation."""

    view: np.random.Generator | None
    change: np.random.Generator | None
    mask: np.random.Generator
    drop: np.random.Generator
    shift: np.random.Generator


def clip_rngs(seed: int, train: bool, place: tuple[int, ...]) -> ClipRngs:
    """The generators of the clip at a place of an epoch."""
    view = generator(seed, RngStream.VIEW, *place) if train else None
    change = generator(seed, RngStream.AUGMENT, *place) if train else None
    return ClipRngs(
        view, change, *(generator(seed, p, *place) for p in (RngStream.MASK, RngStream.DROP, RngStream.SHIFT))
    )
