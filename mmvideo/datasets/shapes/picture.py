"""Rendering of a clip: background, clutter, distractors and the moving shape, with analytic antialiasing.

Each shape is a signed distance function on a unit square (Quilez, "2D distance functions"). A pixel's coverage is the
distance to the edge in pixels, clipped to one pixel, so slow motion is visible below the size of a pixel.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from mmvideo.datasets.shapes.attributes import COLOURS, SHAPES, Attributes
from mmvideo.datasets.shapes.config import ShapesConfig
from mmvideo.datasets.shapes.motion import path

RGB = {
    "red": (225, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 90, 240),
    "yellow": (240, 220, 50),
    "purple": (175, 60, 205),
    "white": (245, 245, 245),
}


def distance(shape: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the signed distance from (x, y) to the edge of a shape about the size of the unit circle; negative inside.

    The y axis points down.
    """
    match shape:
        case "circle":
            return np.hypot(x, y) - 1.0
        case "ring":
            return np.abs(np.hypot(x, y) - 0.82) - 0.26
        case "square":
            return np.maximum(np.abs(x), np.abs(y)) - 0.88
        case "cross":
            long, short = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
            return np.maximum(long - 1.05, short - 0.36)
        case "triangle":
            return np.maximum(y - 0.62, 0.866 * np.abs(x) - 0.5 * y - 0.62)
        case "star":
            return _star(x, y)
    raise ValueError(f"shapes: no shape is called {shape!r}")


def _star(x: np.ndarray, y: np.ndarray, tip: float = 1.25, valley: float = 0.52) -> np.ndarray:
    """Return the distance to a five-pointed star.

    The plane is folded into a tenth of the star, between a tip and a valley, where the edge is a single line.
    """
    sector = 2 * np.pi / 5
    # The angle from the nearest tip, 0 to 36 degrees.
    angle = np.abs((np.arctan2(x, -y) + sector / 2) % sector - sector / 2)
    radius = np.hypot(x, y)
    along, across = valley * np.cos(sector / 2) - tip, valley * np.sin(sector / 2)
    length = np.hypot(along, across)
    normal = across / length, -along / length
    return (radius * np.cos(angle) - tip) * normal[0] + radius * np.sin(angle) * normal[1]


def coverage(shape: str, size: int, x, y, width, height, angle: float = 0.0) -> Float[np.ndarray, "T Y X"]:
    """Return the share of each pixel that the shape covers, in [0, 1].

    Args:
        shape: its name.
        size: side of the frame in pixels.
        x, y, width, height: `[T]` centre and half extents, in frame sides.
        angle: rotation in radians, before the squash.
    """
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y, width, height = (np.asarray(value, np.float32)[:, None, None] for value in (x, y, width, height))
    across, down = (grid[None, None, :] - x) / width, (grid[None, :, None] - y) / height
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    local = distance(shape, cos * across + sin * down, cos * down - sin * across)
    # A pixel on the edge is half covered; half a pixel inside it is fully covered.
    return np.clip(0.5 - local * np.minimum(width, height) * size, 0, 1)


def render(config: ShapesConfig, attributes: Attributes, rng: np.random.Generator) -> UInt8[np.ndarray, "T Y X 3"]:
    """Return all frames of a clip."""
    hard = config.difficulty
    scene = _background(config, rng)
    # Colours are the axis before rows and columns while drawing: three long planes blend several times faster.
    frames = np.repeat(scene.transpose(2, 0, 1)[None], attributes.frames, 0)
    for _ in range(int(rng.integers(0, 1 + round(5 * hard)))):
        _distractor(frames, hard, rng)
    radius = 0.15 * (1 + 0.35 * hard * rng.uniform(-1, 1))
    moving = path(attributes, radius, rng)
    angle = rng.uniform(-1, 1) * np.deg2rad(8 + 17 * hard)
    covered = coverage(attributes.shape, config.size, moving.x, moving.y, moving.width, moving.height, angle)
    _blend(frames, covered, np.array(RGB[attributes.colour]) * rng.uniform(1 - 0.25 * hard, 1))
    return _grain(frames, 30 * hard, rng)


def _blend(frames: np.ndarray, covered: np.ndarray, colour: np.ndarray) -> None:
    """Paint a colour over `frames` `[T, 3, Y, X]` with the opacity `covered` `[T, Y, X]`, in place."""
    frames += covered[:, None] * (colour.astype(np.float32)[:, None, None] - frames)


def _grain(frames: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise and round; one noise field, shifted from frame to frame, is cheaper than new draws."""
    if deviation > 0:
        size = frames.shape[-1]
        field = np.float32(deviation) * rng.standard_normal((3, 2 * size, 2 * size), np.float32)
        for frame, (down, right) in zip(frames, rng.integers(0, size, (len(frames), 2)), strict=True):
            frame += field[:, down : down + size, right : right + size]
    pixels = np.clip(frames + 0.5, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))


def _background(config: ShapesConfig, rng: np.random.Generator) -> np.ndarray:
    """Return a dull, dark image: plain, a gradient, stripes, checks or soft blobs, with strokes of clutter over it."""
    hard, size = config.difficulty, config.size
    grid = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = grid[None, :], grid[:, None]
    angle = rng.uniform(0, 2 * np.pi)
    slope = np.cos(angle) * x + np.sin(angle) * y
    waves = rng.uniform(2, 4 + 4 * hard)
    match int(rng.integers(0, 5)):
        case 0:
            pattern = np.zeros((size, size))
        case 1:
            pattern = slope - slope.mean()
        case 2:
            pattern = 0.5 * np.sin(2 * np.pi * waves * slope)
        case 3:
            pattern = 0.5 * np.tanh(8 * np.sin(np.pi * waves * x + angle) * np.sin(np.pi * waves * y + angle))
        case _:
            pattern = sum(
                np.exp(-((x - rng.uniform(0, 1)) ** 2 + (y - rng.uniform(0, 1)) ** 2) / 0.05) for _ in range(4)
            )
    base = rng.uniform(45, 105) + rng.uniform(-1, 1, 3) * (8 + 12 * hard)
    tint = 1 + 0.4 * rng.uniform(-1, 1, 3)
    picture = (base + (12 + 40 * hard) * pattern[..., None] * tint).astype(np.float32)
    for _ in range(round(8 * hard)):
        _stroke(picture, x, y, hard, rng)
    return picture


def _stroke(picture: np.ndarray, x: np.ndarray, y: np.ndarray, hard: float, rng: np.random.Generator) -> None:
    """Draw a thin straight stroke, lighter or darker than its background."""
    angle = rng.uniform(0, np.pi)
    px, py = x - np.float32(rng.uniform(0, 1)), y - np.float32(rng.uniform(0, 1))
    across = np.abs(np.cos(angle) * px + np.sin(angle) * py) - 0.012
    along = np.abs(np.cos(angle) * py - np.sin(angle) * px) - rng.uniform(0.05, 0.25)
    inside = np.clip(0.5 - np.maximum(across, along) * len(picture), 0, 1)
    picture += (rng.choice((-1, 1)) * (15 + 30 * hard) * inside[..., None]).astype(np.float32)


def _distractor(frames: np.ndarray, hard: float, rng: np.random.Generator) -> None:
    """Draw a small dimmed shape of any type that stands still or drifts; it is less than half as wide as the main
    shape."""
    t = np.linspace(-0.5, 0.5, len(frames))
    drift = 0.4 * hard * rng.uniform(-1, 1, 2)
    x, y = (rng.uniform(0.06, 0.94) + step * t for step in drift)
    radius = np.full(len(frames), rng.uniform(0.035, 0.045))
    covered = coverage(SHAPES[rng.integers(len(SHAPES))], frames.shape[-1], x, y, radius, radius)
    dimmed = (0.55 + 0.2 * hard) * np.array(RGB[COLOURS[rng.integers(len(COLOURS))]])
    _blend(frames, covered, dimmed)
