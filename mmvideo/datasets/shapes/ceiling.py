"""The best that anyone can do on the shapes: someone who sees the true attributes that a modality shows, and knows
the law they were drawn from (`attributes`).

What a modality shows:

- video: shape, colour, motion; and exactly when the bounces come and how long the clip is;
- audio: timbre, melody; and exactly when the beeps come and how long the clip is;
- text: shape, colour, motion, timbre, melody (a clip's first caption names them all; no other is asked for);
- video+audio: all of it.

Retrieval. A gallery holds the query's partner and n - 1 independent clips, so the posterior that candidate c is the
partner of query q is proportional to P(c | q) / P(c), and ranking by it is optimal for every R@k (Bayes; note that
P(c | q) alone is not: it would favour common candidates). Attributes fall into independent factors, so the score is a
sum of one pointwise mutual information a factor. Ties are ranked at random, and scores are expectations over that.

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

"text and video" stands for both directions, whose law is the same. Between video and audio most of the score comes
from rhythm and length; with `rhythm=False` the listener and viewer only know the named attributes.

Accuracy, in percent, for a guess from one modality:

    visual    video 100, text 100, audio 16.7 (motion is independent of all that is heard)
    audio     audio 100, text 100, video 21.2 (the shape gives its own instrument away, nothing the melody)
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
    """One independent part of what two modalities show of a clip.

    Attributes:
        query, gallery: the attributes that the one and the other show of it; several count as one.
        query_values, gallery_values: the values they take, in the order of the table.
        table: their joint probability, `[values of query, values of gallery]`.
    """

    query: tuple[str, ...]
    gallery: tuple[str, ...]
    query_values: tuple[tuple, ...]
    gallery_values: tuple[tuple, ...]
    table: Float[np.ndarray, "q g"]

    @property
    def score(self) -> Float[np.ndarray, "q g"]:
        """Pointwise mutual information in nats; minus infinity where the two can't belong together."""
        with np.errstate(divide="ignore"):
            expected = self.table.sum(1, keepdims=True) * self.table.sum(0, keepdims=True)
            return np.log(np.divide(self.table, expected, out=np.zeros_like(self.table), where=expected > 0))

    def turned(self) -> Factor:
        """The same factor for a search in the other direction."""
        return Factor(self.gallery, self.query, self.gallery_values, self.query_values, self.table.T)


def pairs(config: ShapesConfig, rhythm: bool = True) -> dict[tuple[str, str], tuple[Factor, ...]]:
    """What every ordered pair of modalities has in common, as independent factors."""
    instrument = timbre_given_shape(config.tie)
    shape, colour, motion, melody = (
        _shared(name, values, None)
        for name, values in (("shape", SHAPES), ("colour", COLOURS), ("motion", MOTIONS), ("melody", MELODIES))
    )
    timbre = _shared("timbre", TIMBRES, instrument.mean(0))
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
    """What the best possible viewer, listener and reader gets on these very clips.

    Args:
        attributes: one mapping a clip, as the manifest keeps them (`Attributes.as_dict`).
        config: the settings they were drawn with.
        rhythm: whether the times of bounces and beeps and the clip's length count as shown.

    Returns:
        `QUERY_to_GALLERY/r@K` for every ordered pair of video, audio, text and of text and video+audio, and
        `LABEL/MODALITY/accuracy`; all in [0, 1], ties counted by their expectation.

    Raises:
        ValueError: no clips, or a clip with an attribute missing or of an unknown value.
    """
    if not attributes:
        raise ValueError("shapes: the oracle needs the attributes of at least one clip")
    metrics = {}
    for (query, gallery), factors in pairs(config, rhythm).items():
        above, level = _rivals(attributes, factors)
        for k in KS:
            hit = np.clip((k - above) / level, 0, 1)
            metrics[f"{query}_to_{gallery}/r@{k}"] = float(hit.mean())
    return metrics | _accuracies(attributes, config)


def known_oracle(attributes: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """The oracle of clips by what their manifest kept of them; None unless all are shapes of the same settings."""
    settings = [clip.get("settings") for clip in attributes]
    if not settings or settings[0] is None or any(other != settings[0] for other in settings):
        return None
    return oracle(attributes, ShapesConfig(**settings[0]))


def ceilings(config: ShapesConfig, clips: int, *, rhythm: bool = True) -> dict[str, float]:
    """The mean of `oracle` over all sets of `clips` clips, in closed form; the same keys.

    Every rival of the partner is an independent draw, above it with probability p, level with it with probability e;
    so R@k is the sum over A < k rivals above of P(A) E[min(1, (k - A) / (1 + E))], A and E binomial.
    """
    if clips < 1:
        raise ValueError(f"shapes: a gallery needs at least one clip, not {clips}")
    metrics = {}
    for (query, gallery), factors in pairs(config, rhythm).items():
        outcomes = _outcomes(factors)
        for k in KS:
            value = sum(weight * _recall(k, clips - 1, above, level) for weight, above, level in outcomes)
            metrics[f"{query}_to_{gallery}/r@{k}"] = float(value)
    best = float(timbre_given_shape(config.tie).max(1).mean()) / len(MELODIES)
    return metrics | {f"{label}/{m}/accuracy": value for label, m, value in _known(best)}


def _single(values) -> tuple[tuple, ...]:
    return tuple((value,) for value in values)


def _shared(name: str, values, weights: np.ndarray | None) -> Factor:
    """An attribute that both modalities show; uniform unless `weights` say otherwise."""
    weights = np.full(len(values), 1 / len(values)) if weights is None else weights
    return Factor((name,), (name,), _single(values), _single(values), np.diag(weights))


def _codes(attributes: Sequence[Mapping[str, Any]], names: tuple[str, ...], values: tuple) -> Int[np.ndarray, "n"]:
    """Which of `values` each clip has."""
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
    """For each query, how many candidates score above its partner, and how many as much (the partner included)."""
    columns = [
        (_codes(attributes, f.query, f.query_values), _codes(attributes, f.gallery, f.gallery_values), f.score)
        for f in factors
    ]
    above, level = [], []
    for start in range(0, len(attributes), 256):
        rows = slice(start, start + 256)
        # Equal sums may differ in their last bit; rounding makes them the ties they are.
        scores = sum(score[query[rows]][:, gallery] for query, gallery, score in columns).round(9)
        own = np.take_along_axis(scores, np.arange(start, start + len(scores))[:, None], 1)
        above.append((scores > own).sum(1))
        level.append((scores == own).sum(1))
    return np.concatenate(above), np.concatenate(level)


def _outcomes(factors: tuple[Factor, ...]) -> list[tuple[float, float, float]]:
    """Every way a query and its partner may turn out: (probability, chance that a rival is above, is level)."""
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
    """Groups the query's values by how their partner's and a rival's scores are spread; the weight of each group."""
    kinds: dict[tuple, float] = {}
    marginal = factor.table.sum(0)
    for row, score in zip(factor.table, factor.score, strict=True):
        if row.sum() > 0:
            key = (_spread(score, row / row.sum()), _spread(score, marginal))
            kinds[key] = kinds.get(key, 0) + float(row.sum())
    return kinds


def _spread(scores: np.ndarray, weights: np.ndarray) -> tuple[tuple[float, float], ...]:
    """A distribution of scores: sorted (score, probability), equal scores put together."""
    total: dict[float, float] = {}
    for score, weight in zip(scores.round(9), weights, strict=True):
        if weight > 0:
            total[float(score)] = total.get(float(score), 0) + float(weight)
    return tuple((score, round(weight, 15)) for score, weight in sorted(total.items()))


def _convolve(a: tuple, b: tuple) -> tuple:
    """The distribution of the sum of two independent scores; an empty one stands for zero."""
    if not a:
        return b
    sums = np.array([x + y for x, _ in a for y, _ in b])
    return _spread(sums, np.array([p * q for _, p in a for _, q in b]))


def _recall(k: int, rivals: int, above: float, level: float) -> float:
    """Expected R@k against independent rivals that are above or level with the given chances."""
    total = 0.0
    for better in range(min(k, rivals + 1)):
        rest = rivals - better
        share = min(1.0, level / (1 - above)) if above < 1 else 0.0
        places = np.minimum(1, (k - better) / (1 + np.arange(rest + 1)))
        total += _binomial(rivals, above)[better] * float(_binomial(rest, share) @ places)
    return total


def _binomial(n: int, p: float) -> Float[np.ndarray, "hits"]:
    """The probabilities of 0 to n hits."""
    if p in (0.0, 1.0):
        return np.eye(n + 1)[0 if p == 0 else n]
    hits = np.arange(n + 1)
    factorials = np.array([math.lgamma(i + 1) for i in range(n + 1)])
    return np.exp(factorials[n] - factorials - factorials[::-1] + hits * math.log(p) + hits[::-1] * math.log1p(-p))


def _accuracies(attributes: Sequence[Mapping[str, Any]], config: ShapesConfig) -> dict[str, float]:
    """Accuracy of each label from each modality on these clips."""
    instrument = timbre_given_shape(config.tie)
    shape = _codes(attributes, ("shape",), _single(SHAPES))
    timbre = _codes(attributes, ("timbre",), _single(TIMBRES))
    best = instrument == instrument.max(1, keepdims=True)
    heard = (best[shape, timbre] / best[shape].sum(1)).mean() / len(MELODIES)
    return {f"{label}/{modality}/accuracy": value for label, modality, value in _known(float(heard))}


def _known(audio_from_video: float) -> list[tuple[str, str, float]]:
    """What each modality tells of each label: all, nothing beyond chance, or (sound from picture) what is given."""
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
