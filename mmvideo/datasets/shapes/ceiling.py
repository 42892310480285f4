"""Performance ceilings on the shapes, for an observer who knows the true attributes that a modality shows and their
distribution (`attributes`).

Attributes shown by each modality:

- video: shape, colour, motion; the exact times of the bounces and the length of the clip;
- audio: timbre, melody; the exact times of the beeps and the length of the clip;
- text: shape, colour, motion, timbre, melody (a clip's first caption names them all; only this one is used);
- video+audio: all of video and audio.

Retrieval. A gallery holds the query's partner and n - 1 independent clips, so the posterior that candidate c is the
partner of query q is proportional to P(c | q) / P(c), and ranking by it is optimal for every R@k (Bayes; note that
P(c | q) alone is not: it would favour common candidates). Attributes form independent factors, so the score is the sum
of the pointwise mutual information of each factor. Ties are ranked at random, and scores are expectations over that.

Ceilings for n clips with the default `ShapesConfig`, in percent, R@1 / R@5 / R@10, the mean over all sets of n clips:

    n = 100    text and video         80.2 / 100.0 / 100.0
    n = 100    text and audio         15.9 /  70.4 /  97.0
    n = 100    text and video+audio   95.9 / 100.0 / 100.0
    n = 100    video to audio         77.5 /  99.9 / 100.0
    n = 100    audio to video         77.3 /  99.9 / 100.0
    n = 512    text and video         38.3 /  98.0 / 100.0
    n = 512    text and audio          3.1 /  15.6 /  31.2
    n = 512    text and video+audio   81.6 / 100.0 / 100.0
    n = 512    video to audio         42.3 /  90.7 /  98.8
    n = 512    audio to video         42.3 /  90.5 /  98.6

"text and video" stands for both directions, which have the same distribution. Between video and audio most of the score
comes from rhythm and length; with `rhythm=False` only the named attributes are known.

Accuracy, in percent, for a guess from one modality:

    visual    video 100, text 100, audio 16.7 (motion is independent of everything in the audio)
    audio     audio 100, text 100, video 21.2 (the shape hints at its own instrument, nothing at the melody)
    joint     text 100, video+audio 100, video 50, audio 50
    sync      video+audio 100, video 50, audio 50, text 50
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mmvideo.datasets.shapes.attributes import (
    COLOURS,
    LABELS,
    MELODIES,
    MOTIONS,
    PERIODS,
    PHASES,
    SHAPES,
    TIMBRES,
    beep_phase_given_phase,
    timbre_given_shape,
)
from mmvideo.datasets.shapes.config import ShapesConfig

KS = (1, 5, 10)


@dataclasses.dataclass(frozen=True)
class Factor:
    """An independent factor of the attributes that two modalities share.

    Attributes:
        query, gallery: attributes that each modality shows of it; several count as one.
        query_values, gallery_values: their values, in the order of the table.
        table: their joint probability, `[values of query, values of gallery]`.
    """

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    query_values: tuple[tuple, ...]
    gallery_values: tuple[tuple, ...]
    table: Float[np.ndarray, "q g"]

    @property
    def score(self) -> Float[np.ndarray, "q g"]:
        """Pointwise mutual information in nats; minus infinity where the two cannot belong together."""
        with np.errstate(divide="ignore"):
            expected = self.table.sum(1, keepdims=True) * self.table.sum(0, keepdims=True)
            return np.log(np.divide(self.table, expected, out=np.zeros_like(self.table), where=expected > 0))

    def turned(self) -> Factor:
        """Return the same factor for a search in the other direction."""
        return Factor(self.gallery, self.query, self.gallery_values, self.query_values, self.table.T)


def pairs(config: ShapesConfig, rhythm: bool = True) -> dict[tuple[str, str], tuple[Factor, ...]]:
    """Return the independent factors that every ordered pair of modalities shares."""
    instrument = timbre_given_shape(config.tie)
    shape, colour, motion, melody = (
        _shared(name, values, None)
        for name, values in (("shape", SHAPES), ("colour", COLOURS), ("motion", MOTIONS), ("melody", MELODIES))
    )
    timbre = _shared("timbre", TIMBRES, instrument.mean(0))
    # Shape and timbre depend on each other, so they form one factor of 6 x 4 values.
    sounding = tuple((s, t) for s in SHAPES for t in TIMBRES)
    names = ("shape", "timbre")
    both = Factor(names, names, sounding, sounding, np.diag(instrument.ravel() / len(SHAPES)))
    tied = Factor(("shape",), ("timbre",), _single(SHAPES), _single(TIMBRES), instrument / len(SHAPES))
    phases = _single(range(PHASES))
    events = (
        Factor(("phase",), ("beep_phase",), phases, phases, beep_phase_given_phase() / PHASES),
        _shared("period", PERIODS, None),
        _shared("frames", config.frame_counts, None),
    )
    forward = {
        ("text", "video"): (shape, colour, motion),
        ("text", "audio"): (timbre, melody),
        ("text", "video+audio"): (both, colour, motion, melody),
        ("video", "audio"): (tied, *events) if rhythm else (tied,),
    }
    backward = {(b, a): tuple(factor.turned() for factor in factors) for (a, b), factors in forward.items()}
    return forward | backward


def oracle(attributes: Sequence[Mapping[str, Any]], config: ShapesConfig, *, rhythm: bool = True) -> dict[str, float]:
    """Return the performance of the best possible viewer, listener and reader on these clips.

    Args:
        attributes: one mapping for each clip, as in the manifest (`Attributes.as_dict`).
        config: the settings of the clips.
        rhythm: whether times of bounces and beeps and the clip's length count as shown.

    Returns:
        `QUERY_to_GALLERY/r@K` for every ordered pair of video, audio, text and of text and video+audio, and
        `LABEL/MODALITY/accuracy`; all in [0, 1], with the expectation over ties.

    Raises:
        ValueError: there are no clips, or an attribute of a clip is missing or unknown.
    """
    if not attributes:
        raise ValueError("shapes: the oracle needs the attributes of at least one clip")
    metrics = {}
    for (query, gallery), factors in pairs(config, rhythm).items():
        above, level = _rivals(attributes, factors)
        for k in KS:
            # R@5 with 3 rivals above and 4 level, the partner included: 2 of 4 places count, 0.5.
            hit = np.clip((k - above) / level, 0, 1)
            metrics[f"{query}_to_{gallery}/r@{k}"] = float(hit.mean())
    return metrics | _accuracies(attributes, config)


def known_oracle(attributes: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Return the oracle of clips from their manifest attributes; None unless all are shapes with the same settings."""
    settings = [clip.get("settings") for clip in attributes]
    if not settings or settings[0] is None or any(other != settings[0] for other in settings):
        return None
    return oracle(attributes, ShapesConfig(**settings[0]))


def ceilings(config: ShapesConfig, clips: int, *, rhythm: bool = True) -> dict[str, float]:
    """Return the mean of `oracle` over all sets of `clips` clips, in closed form, with the same keys.

    Every rival of the partner is an independent draw, ranked above it with probability p, level with it with
    probability e. So R@k is the sum over A < k rivals above of P(A) E[min(1, (k - A) / (1 + E))], with A and E
    binomial.
    """
    if clips < 1:
        raise ValueError(f"shapes: a gallery needs at least one clip, not {clips}")
    metrics = {}
    for (query, gallery), factors in pairs(config, rhythm).items():
        outcomes = _outcomes(factors)
        for k in KS:
            value = sum(weight * _recall(k, clips - 1, above, level) for weight, above, level in outcomes)
            metrics[f"{query}_to_{gallery}/r@{k}"] = float(value)
    # The best guess names the shape's likeliest instrument and any melody: 0.85 / 4 = 0.2125.
    best = float(timbre_given_shape(config.tie).max(1).mean()) / len(MELODIES)
    return metrics | {f"{label}/{m}/accuracy": value for label, m, value in _known(best)}


def _single(values) -> tuple[tuple, ...]:
    return tuple((value,) for value in values)


def _shared(name: str, values, weights: np.ndarray | None) -> Factor:
    """Return the factor of an attribute that both modalities show; uniform without `weights`."""
    weights = np.full(len(values), 1 / len(values)) if weights is None else weights
    return Factor((name,), (name,), _single(values), _single(values), np.diag(weights))


def _codes(attributes: Sequence[Mapping[str, Any]], names: tuple[str, ...], values: tuple) -> Int[np.ndarray, "n"]:
    """Return the index of each clip's value in `values`."""
    position = {value: i for i, value in enumerate(values)}
    codes = []
    for number, clip in enumerate(attributes):
        try:
            codes.append(position[tuple(clip[name] for name in names)])
        except KeyError as error:
            wanted = " and ".join(names)
            raise ValueError(f"shapes: clip {number} has no {wanted} that these settings can draw ({error})") from None
    return np.array(codes)


def _rivals(
    attributes: Sequence[Mapping[str, Any]], factors: tuple[Factor, ...]
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Return, for each query, the number of candidates above its partner and of those level with it, itself
    included."""
    columns = [
        (_codes(attributes, f.query, f.query_values), _codes(attributes, f.gallery, f.gallery_values), f.score)
        for f in factors
    ]
    above, level = [], []
    for start in range(0, len(attributes), 256):
        rows = slice(start, start + 256)
        # Equal sums may differ in their last bit; rounding makes them exact ties.
        scores = sum(score[query[rows]][:, gallery] for query, gallery, score in columns).round(9)
        own = np.take_along_axis(scores, np.arange(start, start + len(scores))[:, None], 1)
        above.append((scores > own).sum(1))
        level.append((scores == own).sum(1))
    return np.concatenate(above), np.concatenate(level)


def _outcomes(factors: tuple[Factor, ...]) -> list[tuple[float, float, float]]:
    """Return all outcomes of a query and its partner: (probability, chance that a rival is above, chance that it is
    level)."""
    kinds = {((), ()): 1.0}
    for factor in factors:
        combined: dict[tuple, float] = {}
        for (true, rival), weight in kinds.items():
            for (more_true, more_rival), more in _kinds(factor).items():
                key = (_convolve(true, more_true), _convolve(rival, more_rival))
                combined[key] = combined.get(key, 0) + weight * more
        kinds = combined
    outcomes = []
    for (true, rival), weight in kinds.items():
        for score, chance in true:
            above = math.fsum(p for other, p in rival if other > score)
            level = math.fsum(p for other, p in rival if other == score)
            outcomes.append((weight * chance, above, level))
    return outcomes


def _kinds(factor: Factor) -> dict[tuple, float]:
    """Group the query's values by the score distributions of partner and rival, and return the weight of each group."""
    kinds: dict[tuple, float] = {}
    marginal = factor.table.sum(0)
    for row, score in zip(factor.table, factor.score, strict=True):
        if row.sum() > 0:
            key = (_spread(score, row / row.sum()), _spread(score, marginal))
            kinds[key] = kinds.get(key, 0) + float(row.sum())
    return kinds


def _spread(scores: np.ndarray, weights: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return a distribution of scores: sorted (score, probability), equal scores merged."""
    total: dict[float, float] = {}
    for score, weight in zip(scores.round(9), weights, strict=True):
        if weight > 0:
            total[float(score)] = total.get(float(score), 0) + float(weight)
    return tuple((score, round(weight, 15)) for score, weight in sorted(total.items()))


def _convolve(a: tuple, b: tuple) -> tuple:
    """Return the distribution of the sum of two independent scores; an empty one stands for zero."""
    if not a:
        return b
    # Two fair scores of 0 or 1 give 0, 1, 2 with probabilities 0.25, 0.5, 0.25.
    sums = np.array([x + y for x, _ in a for y, _ in b])
    return _spread(sums, np.array([p * q for _, p in a for _, q in b]))


def _recall(k: int, rivals: int, above: float, level: float) -> float:
    """Return the expected R@k against independent rivals that are above or level with these probabilities."""
    total = 0.0
    # With k or more rivals above, the partner is never among the first k.
    for better in range(min(k, rivals + 1)):
        rest = rivals - better
        share = min(1.0, level / (1 - above)) if above < 1 else 0.0
        # R@1 with one level rival and none above: the partner is first in half of the random orders, 1 / (1 + 1).
        places = np.minimum(1, (k - better) / (1 + np.arange(rest + 1)))
        total += _binomial(rivals, above)[better] * float(_binomial(rest, share) @ places)
    return total


def _binomial(n: int, p: float) -> Float[np.ndarray, "hits"]:
    """Return the probabilities of 0 to n hits."""
    if p in (0.0, 1.0):
        return np.eye(n + 1)[0 if p == 0 else n]
    hits = np.arange(n + 1)
    factorials = np.array([math.lgamma(i + 1) for i in range(n + 1)])
    return np.exp(factorials[n] - factorials - factorials[::-1] + hits * math.log(p) + hits[::-1] * math.log1p(-p))


def _accuracies(attributes: Sequence[Mapping[str, Any]], config: ShapesConfig) -> dict[str, float]:
    """Return the accuracy of each label from each modality on these clips."""
    instrument = timbre_given_shape(config.tie)
    shape = _codes(attributes, ("shape",), _single(SHAPES))
    timbre = _codes(attributes, ("timbre",), _single(TIMBRES))
    best = instrument == instrument.max(1, keepdims=True)
    heard = (best[shape, timbre] / best[shape].sum(1)).mean() / len(MELODIES)
    return {f"{label}/{modality}/accuracy": value for label, modality, value in _known(float(heard))}


def _known(audio_from_video: float) -> list[tuple[str, str, float]]:
    """Return the accuracy of each label from each modality: 1, chance, or the given value for audio from video."""
    told = {
        "visual": ("video", "text"),
        "audio": ("audio", "text"),
        "joint": ("text",),
        "sync": (),
    }
    rows = []
    for label, classes in LABELS.items():
        for modality in ("video", "audio", "text", "video+audio"):
            value = 1.0 if modality == "video+audio" or modality in told[label] else 1 / len(classes)
            if (label, modality) == ("audio", "video"):
                value = audio_from_video
            rows.append((label, modality, value))
    return rows
