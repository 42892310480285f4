"""Token slots and clip slots of a row."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from mmvideo.input.advice.captions_length import counted_captions
from mmvideo.input.advice.choice import Choice, Situation, spread
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning import token_counts
from mmvideo.input.planning.packer import pack
from mmvideo.stream import MODALITIES

TOGETHER = 3
"""Clips a row is to hold on average, where they have at most `ROOM` tokens together."""

ROOM = 1024
"""Tokens of a row beyond which attention costs more than fewer, longer rows save."""

TRIED = 8
"""Lengths that are tried."""

SAMPLE = 2048
"""Clips that are packed to try a row's length."""

MOST = 64
"""Clip slots of a row at most."""


def choose_tokens(now: Situation) -> Choice:
    """`packing.tokens`: room for three clips or so, of the lengths that fill rows best."""
    needs = _needs(now)
    length, full = _best(needs, _clips(now))
    return Choice(length, f"clips take {spread(needs, 'tokens', 0)}; rows are {full:.0%} full")


def choose_clips(now: Situation) -> Choice:
    """`packing.clips`: as many as come together in the fullest row."""
    needs, length = _needs(now), now.input.packing.tokens
    if (needs > length).any():
        return Choice(now.input.packing.clips, "not every clip fits a row")
    most = int(np.bincount(_rows(needs, length, MOST)).max())
    return Choice(most, f"so many of {needs.mean():.0f} tokens on average come together in {length}")


def clips_of_a_row(now: Situation) -> float:
    """Return how many clips a row holds on average, with the slots that the settings have."""
    needs, packing = _needs(now), now.input.packing
    fitting = np.minimum(needs, packing.tokens)
    return len(fitting) / (int(_rows(fitting, packing.tokens, packing.clips).max()) + 1)


def _clips(now: Situation) -> int | None:
    """Clip slots that the user gave."""
    return now.input.packing.clips if now.has_given("packing.clips") else None


def _best(needs: Int[np.ndarray, " n"], clips: int | None) -> tuple[int, float]:
    """The length of a row that is fullest with these clips, the shortest of equals, and how full it is.

    With clips of 100 and 140 tokens and three in a row, lengths from 360 to 480 are tried.
    """
    together = max(min(TOGETHER, int(ROOM / needs.mean())), 1)
    together = together if clips is None else min(together, clips)
    least = max(together * needs.mean(), needs.max())
    tried = np.linspace(least, max((together + 1) * needs.mean(), least), TRIED)
    lengths = sorted({int(np.ceil(length / 8) * 8) for length in tried})
    full = {length: needs.sum() / (length * (_rows(needs, length, clips or MOST).max() + 1)) for length in lengths}
    # An eighth of a percent is no reason for a longer row.
    best = max(full.values())
    return next((length, share) for length, share in full.items() if share >= best - 0.00125)


def _rows(needs: Int[np.ndarray, " n"], length: int, clips: int) -> Int[np.ndarray, " n"]:
    """The row of every clip."""
    return pack(np.stack([needs, np.ones_like(needs)], axis=1), np.array([length, clips]))


def _needs(now: Situation) -> Int[np.ndarray, " m"]:
    """Encoded tokens of clips with all that they have, a sample of them with the largest among it."""
    corpus, config = now.corpus, now.input
    captions = counted_captions(corpus, config.text)
    found = token_counts.clip_sizes(
        corpus.seconds, corpus.has_video, corpus.has_audio, captions, config, config.masking, config.drop_token
    )
    has = _has(corpus, now)
    clips = np.flatnonzero(has[:, :2].any(axis=1))
    count = 1 if config.text is None else config.text.captions
    needs = found.largest(clips, has[clips], captions, count)[:, 0]
    needs = needs[needs > 0]
    if not len(needs):
        return np.ones(1, np.int64)
    drawn = np.random.default_rng(0).permutation(needs)[:SAMPLE]
    drawn[0] = needs.max()
    if config.text is not None and has[:, 2].any():
        # Tokens of captions are but counted roughly; the longest fill `text.length`.
        drawn[0] = max(drawn[0], needs.max() - captions.words.max(initial=0) + count * config.text.length)
    return drawn


def _has(corpus: CorpusMixture, now: Situation) -> np.ndarray:
    """Which modalities of the run each clip has, `[n, 3]`."""
    captioned = np.array([bool(texts) for texts in corpus.all_captions()])
    has = np.stack([corpus.has_video, corpus.has_audio, captioned], axis=1)
    return has & np.array([getattr(now.input, name) is not None for name in MODALITIES])
