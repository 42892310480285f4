"""How a shape moves: where its centre is, how large and how squashed it is, at every picture of a clip.

Whatever the motion, it bounces once a period: it meets a floor, a wall, a ceiling, a step or (`swells`, a ball
dribbled under the viewer's eye) the ground far below. Its speed turns round at that instant and it is squashed along
the blow for about a tenth of a second.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from mmvideo.datasets.shapes.attributes import PHASES, Attributes

SQUASH = 0.4
"""by how much of its extent a shape is squashed at the instant of a bounce"""
RECOVERY = 0.09
"""seconds in which the squash falls to 1/e"""


@dataclasses.dataclass(frozen=True)
class Path:
    """The moving shape, in units of the picture's side, y downwards.

    Attributes:
        x, y: the centre at each picture.
        width, height: half the extent at each picture.
    """

    x: Float[np.ndarray, "T"]
    y: Float[np.ndarray, "T"]
    width: Float[np.ndarray, "T"]
    height: Float[np.ndarray, "T"]


def path(attributes: Attributes, radius: float, rng: np.random.Generator) -> Path:
    """Moves a shape of `radius` (in picture sides); `rng` draws the place, the direction and the reach."""
    t = np.arange(attributes.frames) / attributes.fps
    beat = t / attributes.period - (attributes.phase + 0.5) / PHASES
    count = np.floor(beat)
    u = beat - count
    hop = 4 * u * (1 - u)
    swing = np.where(count % 2 == 0, u, 1 - u) - 0.5
    progress = (t / t[-1] - 0.5) * rng.choice((-1.0, 1.0))
    aside = rng.uniform(-0.18, 0.18)
    reach = rng.uniform(0.9, 1.1)
    squash = SQUASH * np.exp(-u * attributes.period / RECOVERY)
    narrow, wide = 1 - squash, 1 + 0.7 * squash
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
    sideways = attributes.motion == "slides"
    width, height = (narrow, wide) if sideways else (wide, narrow)
    return Path(x, y, radius * width, radius * height)
