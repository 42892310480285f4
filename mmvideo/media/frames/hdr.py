"""Conversion of HLG and PQ, for screens of 1000 nits, to BT.709, for screens of 203 nits.

Each pixel goes through these steps: code values to light in nits (ITU-R BT.2100); the tone curve of BT.2390 on the
largest of the three channels, which keeps dark and middle tones and compresses those brighter than the target; the same
scale on all three channels, so that the hue stays; BT.2020's primaries to BT.709's; BT.1886's gamma of 2.4.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import UInt8, UInt16

CURVES = {16: "pq", 18: "hlg"}
"""Curves by their number (ITU-T H.273, table 3)."""

PEAK = 1000.0
"""Brightest source light in nits: HLG's nominal screen and most mastering; brighter light is clipped."""

WHITE = 203.0
"""White level in nits for both types of screens (ITU-R BT.2408, section 2.1)."""

STEPS = 4096
"""Entries of the tables: 12 bits of code values, or of the square root of light."""

LUMA = np.float32([0.2627, 0.6780, 0.0593])
"""Luminance weights of red, green and blue in BT.2020."""

TO_709 = np.float32([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
"""Conversion of linear BT.2020 to linear BT.709 (ITU-R BT.2087, annex 2, rounded)."""


def tone_map(codes: UInt16[np.ndarray, "H W 3"], curve: int, wide: bool = True) -> UInt8[np.ndarray, "H W 3"]:
    """Convert RGB code values in HLG or PQ to RGB in BT.709.

    Args:
      codes: 16-bit code values of full range.
      curve: a key of `CURVES`.
      wide: whether the primaries are BT.2020's; those of BT.709 are not converted.
    """
    # 16-bit codes to 12-bit table indices.
    light = _light_table(CURVES[curve])[codes >> 4]
    if CURVES[curve] == "hlg":
        light *= (PEAK * np.maximum(light @ LUMA, 1e-9) ** np.float32(0.2))[..., None]
    brightest = light.max(axis=-1)
    light *= _gain_table()[_root(brightest, PEAK)][..., None]
    if wide:
        light = light @ TO_709.T
    return _code_table()[_root(light, 1.0)]


def pq_light(code: np.ndarray) -> np.ndarray:
    """Return the nits of PQ code values in [0, 1] (BT.2100, table 4, EOTF)."""
    root = code ** (32 / 2523)
    return 1e4 * (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)


def pq_code(light: np.ndarray) -> np.ndarray:
    """Return the PQ code values of nits, the inverse of `pq_light`."""
    root = (light / 1e4) ** (1305 / 8192)
    return ((107 / 128 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)


def hlg_light(code: np.ndarray) -> np.ndarray:
    """Return the scene light in [0, 1] of HLG code values in [0, 1] (BT.2100, table 5, inverse OETF)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def bend(light: np.ndarray) -> np.ndarray:
    """Return nits on a screen of `WHITE` for nits on one of `PEAK` (BT.2390, section 5.4.1, black at 0).

    Example: the knee is at 1.5 m - 0.5 of the source's PQ range, with m = PQ(203) / PQ(1000) = 0.772, so at 0.66, which
    is 88 nits. Light up to there is unchanged; 203 nits become 159 and 1000 become 203.
    """
    source, white = pq_code(np.array([PEAK, WHITE]))
    top = white / source
    knee = 1.5 * top - 0.5
    # The curve works on PQ values relative to the source's peak.
    code = np.minimum(pq_code(light) / source, 1.0)
    at = (code - knee) / (1 - knee)
    spline = (2 * at**3 - 3 * at**2 + 1) * knee + (at**3 - 2 * at**2 + at) * (1 - knee) + (3 * at**2 - 2 * at**3) * top
    return pq_light(source * np.where(code < knee, code, spline))


def _root(light: np.ndarray, most: float) -> np.ndarray:
    """Return the indices of light in a table that is uniform in its square root."""
    return np.rint(np.sqrt(np.clip(light / np.float32(most), 0, 1)) * np.float32(STEPS - 1)).astype(np.int32)


@functools.cache
def _light_table(name: str) -> np.ndarray:
    codes = np.arange(STEPS) / (STEPS - 1)
    return np.float32(pq_light(codes) if name == "pq" else hlg_light(codes))


@functools.cache
def _gain_table() -> np.ndarray:
    """Return the factor of light, relative to `WHITE`, by the square root of its brightest channel."""
    light = np.maximum(PEAK * (np.arange(STEPS) / (STEPS - 1)) ** 2, 1e-6)
    return np.float32(bend(light) / light / WHITE)


@functools.cache
def _code_table() -> np.ndarray:
    """Return 8-bit code values by the square root of light (BT.1886)."""
    return np.rint(255 * (np.arange(STEPS) / (STEPS - 1)) ** (2 / 2.4)).astype(np.uint8)
