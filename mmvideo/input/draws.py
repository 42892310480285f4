"""Random numbers that depend on what they are for and where, never on who draws them or when.

Every draw comes from a Philox generator keyed by the seed of the run, the purpose and the place
(epoch, position in the epoch), so that any process, thread or resumed run draws the same.
"""

from __future__ import annotations

import enum

import numpy as np


class Purpose(enum.IntEnum):
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


def generator(seed: int, purpose: Purpose, *place: int) -> np.random.Generator:
    """A generator for one purpose at one place, such as `(epoch,)` or `(epoch, position)`."""
    key = np.random.SeedSequence((seed, int(purpose), *place))
    return np.random.Generator(np.random.Philox(key))
