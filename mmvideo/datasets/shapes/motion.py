"""Motion of a shape: centre, size and squash in every frame of a clip.

With any motion, the shape bounces once a period: on a floor, a wall, a ceiling, a step or, for `swells` (a ball
dribbled below the viewer's eye), the ground far below. Its velocity reverses at that time, and it is squashed along the
impact for about a tenth of a second.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mmvideo.datasets.shapes.attributes import PHASES, Attributes

SQUASH = 0.4
"""share of its extent by which a shape is squashed at the time of a bounce"""
RECOVERY = 0.09
"""seconds in which the squash decays to 1/e"""


@dataclasses.dataclass(frozen=True)
class Path:
    """Path of the shape, in units of the frame's side, y downwards.

    Attributes:
        x, y: centre in each frame.
        width, height: half the extent in each frame.
    """

    x: Float[np.ndarray, "T"]
    y: Float[np.ndarray, "T"]
    width: Float[np.ndarray, "T"]
    height: Float[np.ndarray, "T"]


def path(attributes: Attributes, radius: float, rng: np.random.Generator) -> Path:
    """Return the path of a shape of `radius` (in frame sides); `rng` draws position, direction and range."""
    t = np.arange(attributes.frames) / attributes.fps
    beat = t / attributes.period - (attributes.phase + 0.5) / PHASES
    count = np.floor(beat)
    u = beat - count
    # u runs from 0 at one bounce to 1 at the next; the hop is a parabola: 0 at both, 1 at u = 0.5.
    hop = 4 * u * (1 - u)
    # A triangle wave from -0.5 to 0.5: the direction reverses at every bounce.
    swing = np.where(count % 2 == 0, u, 1 - u) - 0.5
    progress = (t / t[-1] - 0.5) * rng.choice((-1.0, 1.0))
    aside = rng.uniform(-0.18, 0.18)
    reach = rng.uniform(0.9, 1.1)
    squash = SQUASH * np.exp(-u * attributes.period / RECOVERY)
    narrow, wide = 1 - squash, 1 + 0.7 * squash
    # A squashed shape is lower: move its centre down so that it still touches the floor.
    grounded = radius * squash

    match attributes.motion:
        case "climbs":
            x, y = 0.5 + 0.4 * progress, 0.55 - 0.46 * reach * (t / t[-1] - 0.5) - 0.15 * hop + grounded
        case "descends":
            x, y = 0.5 + 0.4 * progress, 0.55 + 0.46 * reach * (t / t[-1] - 0.5) - 0.15 * hop + grounded
        case "zigzags":
            x, y = 0.5 + 0.66 * progress, 0.5 + 0.56 * reach * swing
        case "bounces":
            x, y = 0.5 + aside + 0 * t, 0.76 - 0.5 * reach * hop + grounded
        case "slides":
            x, y = 0.5 + 0.6 * reach * swing, 0.5 + aside + 0 * t
        case "swells":
            x, y = 0.5 + aside + 0 * t, 0.5 + rng.uniform(-0.15, 0.15) + 0 * t
        case other:
            raise ValueError(f"shapes: no motion is called {other!r}")
    if attributes.motion == "swells":
        size = radius * (0.55 + 0.95 * hop)
        return Path(x, y, size, size)
    # A wall squashes the width, a floor the height.
    sideways = attributes.motion == "slides"
    width, height = (narrow, wide) if sideways else (wide, narrow)
    return Path(x, y, radius * width, radius * height)
