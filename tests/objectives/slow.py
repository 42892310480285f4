"""Slow references: slopes by central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def slopes(function: Callable[..., float], arguments: Sequence, step: float = 1e-6) -> list[np.ndarray]:
    """Central differences of a float64 function by each number of its arguments."""
    gradients = []
    for which, argument in enumerate(arguments):
        gradient = np.zeros_like(argument, dtype=np.float64)
        for place in np.ndindex(np.shape(argument)):
            moved = [np.array(value, np.float64) for value in arguments]
            moved[which][place] += step
            above = function(*moved)
            moved[which][place] -= 2 * step
            gradient[place] = (above - function(*moved)) / (2 * step)
        gradients.append(gradient)
    return gradients
