"""Choice of token slots and clip slots of a row."""

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
"""Average number of clips in a row, if they have at most `ROOM` tokens together."""

ROOM = 1024
"""Tokens of a row beyond which attention costs more than fewer, longer rows save."""

TRIED = 8
"""Number of lengths that are tried."""

SAMPLE = 2048
"""Number of clips that are packed to try a length."""

MOST = 64
"""Largest number of clip slots in a row."""


def choose_tokens(now: Situation) -> Choice:
    """Choose `packing.tokens`: enough for about three clips, at the length that fills rows best."""
    needs = _needs(now)
    length, full = _best(needs, _clips(now))
    return Choice(length, f"clips take {spread(needs, 'tokens', 0)}; rows are {full:.0%} full")


def choose_clips(now: Situation) -> Choice:
    """Choose `packing.clips`: the number of clips in the row with the most."""
    needs, length = _needs(now), now.input.packing.tokens
    if (needs > length).any():
        return Choice(now.input.packing.clips, "not every clip fits a row")
    most = int(np.bincount(_rows(needs, length, MOST)).max())
    return Choice(most, f"so many of {needs.mean():.0f} tokens on average come together in {length}")


def clips_of_a_row(now: Situation) -> float:
    """Return the average number of clips in a row with the slots of the settings."""
    needs, packing = _needs(now), now.input.packing
    fitting = np.minimum(needs, packing.tokens)
    return len(fitting) / (int(_rows(fitting, packing.tokens, packing.clips).max()) + 1)


def _clips(now: Situation) -> int | None:
    """Return the clip slots that the user set, or None."""
    return now.input.packing.clips if now.has_given("packing.clips") else None


def _best(needs: Int[np.ndarray, " n"], clips: int | None) -> tuple[int, float]:
    """Return the row length with the best fill, the shortest of equals, and the fill.

    With clips of 100 and 140 tokens and three in a row, lengths from 360 to 480 are tried.
    """
    together = max(min(TOGETHER, int(ROOM / needs.mean())), 1)
    together = together if clips is None else min(together, clips)
    least = max(together * needs.mean(), needs.max())
    tried = np.linspace(least, max((together + 1) * needs.mean(), least), TRIED)
    lengths = sorted({int(np.ceil(length / 8) * 8) for length in tried})
    full = {length: needs.sum() / (length * (_rows(needs, length, clips or MOST).max() + 1)) for length in lengths}
    # A gain of less than an eighth of a percent does not justify a longer row.
    best = max(full.values())
    return next((length, share) for length, share in full.items() if share >= best - 0.00125)


def _rows(needs: Int[np.ndarray, " n"], length: int, clips: int) -> Int[np.ndarray, " n"]:
    """Return the row of every clip."""
    return pack(np.stack([needs, np.ones_like(needs)], axis=1), np.array([length, clips]))


def _needs(now: Situation) -> Int[np.ndarray, " m"]:
    """Return the encoded tokens of a sample of clips with all their modalities; the largest clip is in the sample."""
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
        # Caption tokens are only estimated: assume that the longest captions fill `text.length`.
        drawn[0] = max(drawn[0], needs.max() - captions.words.max(initial=0) + count * config.text.length)
    return drawn


def _has(corpus: CorpusMixture, now: Situation) -> np.ndarray:
    """Return the modalities of the run that each clip has, `[n, 3]`."""
    captioned = np.array([bool(texts) for texts in corpus.all_captions()])
    has = np.stack([corpus.has_video, corpus.has_audio, captioned], axis=1)
    return has & np.array([getattr(now.input, name) is not None for name in MODALITIES])
