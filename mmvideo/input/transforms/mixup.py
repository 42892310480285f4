"""Clips into which others are mixed: mixup (Zhang et al. 2018, arXiv 1710.09412) and cutmix (Yun et al. 2019, arXiv
1905.04899).

Whether a clip is mixed, and its partner, is planned with the epoch; how much is drawn when the clip is loaded. The
partner is fitted to the clip: cut, or its last frame repeated and silence added.
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
"""Numbers that are drawn for a clip to choose its partner."""

_MEDIA = [Modality.VIDEO, Modality.AUDIO]


@dataclasses.dataclass(frozen=True)
class MixupSample:
    """How another clip is mixed into one.

    Attributes:
      share: what is left of the clip itself, in [0, 1].
      box: first and last (not included) row and column of what is replaced by the other's picture; None mixes the
        whole pictures.
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
    """The clip that is mixed into each of an epoch's clips, by numbers drawn from [0, 1); -1 for none.

    It is any other of the epoch that has what the clip shows of pictures and sound, so that a clip's share is the same
    of both.

    Args:
      clips: numbers of the clips.
      has: which modalities each has.
      present: which it shows.
      share: how often a clip is mixed.
      uniform: whether it is mixed, and with which.
    """
    partner = np.full(len(clips), PADDING, np.int64)
    mixed = uniform[:, 0] < share
    for shown in itertools.product((False, True), repeat=2):
        own = np.flatnonzero(mixed & (present[:, _MEDIA] == shown).all(axis=1))
        others = np.flatnonzero((has[:, _MEDIA] >= shown).all(axis=1))
        if not any(shown) or not len(own) or len(others) < 2:
            continue
        place = (uniform[own, 1] * (len(others) - 1)).astype(np.int64)
        # From a number among the others to one among all: past the clip itself.
        place += place >= np.searchsorted(others, own)
        partner[own] = clips[others[place]]
    return partner


def sample_mixup(mixing: Mixing, size: int, rng: np.random.Generator) -> MixupSample:
    """How a clip is mixed, its pictures being squares of `size` pixels, 0 where it shows none.

    Cutmix draws the share, and the box of the rest of the area around a drawn middle; what of it lies outside the
    picture is cut off, and the share is then what of the picture the box leaves (section 3.1).
    """
    cut = mixing.cutmix > 0 and (mixing.mixup <= 0 or rng.random() < mixing.switch)
    strength = mixing.cutmix if cut else mixing.mixup
    share = float(rng.beta(strength, strength))
    if not cut or not size:
        return MixupSample(share)
    side = int(size * np.sqrt(1 - share))
    first = rng.integers(0, size, 2) - side // 2
    (top, left), (bottom, right) = np.maximum(first, 0).tolist(), np.minimum(first + side, size).tolist()
    return MixupSample(1 - (bottom - top) * (right - left) / size**2, (top, bottom, left, right))


def mix_frames(
    own: UInt8[np.ndarray, "T H W 3"], other: UInt8[np.ndarray, "T H W 3"], blend: MixupSample
) -> UInt8[np.ndarray, "T H W 3"]:
    """The pictures of a clip with those of another mixed in."""
    if blend.box is not None:
        top, bottom, left, right = blend.box
        mixed = own.copy()
        mixed[:, top:bottom, left:right] = other[:, top:bottom, left:right]
        return mixed
    share = np.float32(blend.share)
    return np.rint(share * own + (1 - share) * other).astype(np.uint8)


def mix_audio(
    own: Float32[np.ndarray, " _"] | None, other: Float32[np.ndarray, " _"] | None, length: int, share: float
) -> Float32[np.ndarray, " _"]:
    """Samples of a clip with another's mixed in, each around its own mean, as AST is trained (arXiv 2104.01778).

    Args:
      own, other: samples, at most `length`; None where nothing is heard.
      length: how many samples; silence follows what is shorter.
      share: what is left of the clip itself.
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
    """Writes what was mixed into each clip of an assembled row. Targets are mixed as the clips are; they are unknown
    where that of either clip is.

    Args:
      clips: of the row, with their own labels and targets.
      partner: number of the clip that was mixed in, -1 for none.
      share: what is left of the clip itself.
      labels: of all clips of the mixture.
      targets: of the partners.
    """
    mixed = np.flatnonzero(partner != PADDING)
    clips.mixed.share[mixed] = share[mixed]
    for kind, classes in clips.mixed.labels.items():
        classes[mixed] = labels[kind][partner[mixed]]
    own = share[mixed, None]
    for kind, values in clips.targets.items():
        values[mixed] = own * values[mixed] + (1 - own) * targets[kind][mixed]
