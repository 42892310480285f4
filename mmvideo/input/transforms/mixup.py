"""Mixup (Zhang et al. 2018, arXiv 1710.09412) and cutmix (Yun et al. 2019, arXiv 1905.04899) of clips.

The epoch plan decides whether a clip is mixed and with which partner. Loading draws the share. The partner is fitted to
the clip: it is cut, or its last frame is repeated and silence is added.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from mmvideo.input.config import Mixing
from mmvideo.stream import PADDING, Clips, Modality

DRAWS = 2
"""Random values per clip to choose its partner."""

_MEDIA = [Modality.VIDEO, Modality.AUDIO]


@dataclasses.dataclass(frozen=True)
class MixupSample:
    """Mixing of one clip with another.

    Attributes:
      share: share of the clip itself, in [0, 1].
      box: first and end row, first and end column of the region that the other clip replaces; None mixes whole frames.
    """

    share: float
    box: tuple[int, int, int, int] | None = None


def sample_partners(
    clips: Int[np.ndarray, " n"],
    has: Bool[np.ndarray, "n 3"],
    present: Bool[np.ndarray, "n 3"],
    share: float,
    uniform: Float[np.ndarray, "n 2"],
) -> Int[np.ndarray, " n"]:
    """Return the clip that is mixed into each clip of an epoch, decided by values drawn from [0, 1); -1 for none.

    The partner is any other clip of the epoch with the video and audio that the clip shows, so both modalities are
    mixed in the same share.

    Args:
      clips: numbers of the clips.
      has: modalities that each clip has.
      present: modalities that each clip shows.
      share: probability that a clip is mixed.
      uniform: values that decide whether a clip is mixed, and its partner.
    """
    partner = np.full(len(clips), PADDING, np.int64)
    mixed = uniform[:, 0] < share
    for shown in itertools.product((False, True), repeat=2):
        own = np.flatnonzero(mixed & (present[:, _MEDIA] == shown).all(axis=1))
        others = np.flatnonzero((has[:, _MEDIA] >= shown).all(axis=1))
        if not any(shown) or not len(own) or len(others) < 2:
            continue
        place = (uniform[own, 1] * (len(others) - 1)).astype(np.int64)
        # Index among all from an index among the others: skip the clip itself. With 4 clips and own index 1, the
        # draws 0, 1, 2 become 0, 2, 3.
        place += place >= np.searchsorted(others, own)
        partner[own] = clips[others[place]]
    return partner


def sample_mixup(mixing: Mixing, size: int, rng: np.random.Generator) -> MixupSample:
    """Draw the share and the box of a clip; `size` is the side of its square frames in pixels, 0 if it shows none.

    Cutmix draws the share, then the box of the remaining area around a random centre. The part of the box outside the
    frame is cut off, and the share becomes the area that the box leaves (section 3.1).
    """
    cut = mixing.cutmix > 0 and (mixing.mixup <= 0 or rng.random() < mixing.switch)
    strength = mixing.cutmix if cut else mixing.mixup
    share = float(rng.beta(strength, strength))
    if not cut or not size:
        return MixupSample(share)
    # Share 0.75 of 64 pixels: a box of 32 x 32. If its centre is the corner (0, 0), 16 x 16 stay inside and the share
    # becomes 1 - 256 / 4096 = 0.9375.
    side = int(size * np.sqrt(1 - share))
    first = rng.integers(0, size, 2) - side // 2
    (top, left), (bottom, right) = np.maximum(first, 0).tolist(), np.minimum(first + side, size).tolist()
    return MixupSample(1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right))


def mix_frames(
    own: UInt8[np.ndarray, "T H W 3"], other: UInt8[np.ndarray, "T H W 3"], blend: MixupSample
) -> UInt8[np.ndarray, "T H W 3"]:
    """Return the frames of a clip mixed with those of another."""
    if blend.box is not None:
        top, bottom, left, right = blend.box
        mixed = own.copy()
        mixed[:, top:bottom, left:right] = other[:, top:bottom, left:right]
        return mixed
    # float32 keeps the blend of uint8 frames from becoming float64.
    share = np.float32(blend.share)
    return np.rint(share * own + (1 - share) * other).astype(np.uint8)


def mix_audio(
    own: Float32[np.ndarray, " _"] | None, other: Float32[np.ndarray, " _"] | None, length: int, share: float
) -> Float32[np.ndarray, " _"]:
    """Return the samples of a clip mixed with those of another, each centred at its mean, as AST does (arXiv
    2104.01778).

    Args:
      own, other: samples, at most `length`; None for no audio.
      length: number of samples; silence pads shorter audio.
      share: share of the clip itself.
    """
    mixed = np.zeros(length, np.float32)
    for heard, part in ((own, np.float32(share)), (other, np.float32(1 - share))):
        if heard is not None and len(heard):
            mixed[: len(heard)] += part * (heard - heard.mean())
    return mixed


def fill_mixup_targets(
    clips: Clips,
    partner: Int[np.ndarray, " e"],
    share: Float[np.ndarray, " e"],
    labels: Mapping[str, Int[np.ndarray, " n"]],
    targets: Mapping[str, Float32[np.ndarray, "e _"]],
) -> None:
    """Write the partner's labels and the mixed targets into an assembled row.

    Targets are mixed in the same share as the clips. They are unknown if those of either clip are.

    Args:
      clips: clips of the row, with their own labels and targets.
      partner: number of the clip that was mixed in, -1 for none.
      share: share of the clip itself.
      labels: labels of all clips of the mixture.
      targets: targets of the partners.
    """
    mixed = np.flatnonzero(partner != PADDING)
    clips.mixed.share[mixed] = share[mixed]
    for kind, classes in clips.mixed.labels.items():
        classes[mixed] = labels[kind][partner[mixed]]
    own = share[mixed, None]
    for kind, values in clips.targets.items():
        # NaN, an unknown target, stays NaN in the sum.
        values[mixed] = own * values[mixed] + (1 - own) * targets[kind][mixed]
