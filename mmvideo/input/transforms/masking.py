"""Encoder masks, drawn on the token grid.

The number of hidden tokens follows from the grid alone (`hidden_video`, `hidden_audio`, `hidden_text`), so rows are
planned before anything is decoded. Their choice is drawn when the clip is loaded. A modality always keeps a visible
token.

Tube masks hide the same cells at all time steps (VideoMAE, arXiv 2203.12602, section 3.2). Unstructured, time and
frequency masks follow AudioMAE (arXiv 2207.06405, section 3.1), time and frequency together its fine-tuning. Block
masks follow V-JEPA (`block_masks`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.config import Masking
from mmvideo.input.transforms.block_masks import block_mask


def share_of(share: float, of: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """Return the rounded share of each count, with at least one left over."""
    return np.clip(np.floor(share * of + 0.5).astype(np.int64), 0, np.maximum(of - 1, 0))


def _share_of(share: float, of: int) -> int:
    """Return the rounded share of one count, with at least one left over."""
    return int(share_of(share, np.array([of]))[0])


def hidden_video(steps: Int[np.ndarray, " n"], cells: int, masking: Masking) -> Int[np.ndarray, " n"]:
    """Return the number of hidden video tokens of clips with `steps` tubelet steps of `cells` tokens each."""
    if masking.video_kind in ("tube", "blocks"):
        # Rounding applies to the unit that is hidden: 0.9 of 16 cells hides 14 in each of 8 steps, 112 of 128 tokens,
        # where `random` would hide 115.
        return steps * _share_of(masking.video, cells)
    if masking.video_kind == "frame":
        return share_of(masking.video, steps) * cells
    return share_of(masking.video, steps * cells)


def hidden_audio(steps: Int[np.ndarray, " n"], bands: int, masking: Masking) -> Int[np.ndarray, " n"]:
    """Return the number of hidden audio tokens of clips with `steps` time steps of `bands` mel patches each."""
    if masking.audio_kind == "time":
        return share_of(masking.audio, steps) * bands
    if masking.audio_kind == "frequency":
        return steps * _share_of(masking.audio, bands)
    if masking.audio_kind == "time_frequency":
        each = _of_each_axis(masking.audio)
        # A token stays visible only if its step and its band do: 10 x 10 tokens with 3 hidden of each axis keep 7 x 7.
        return steps * bands - (steps - share_of(each, steps)) * (bands - _share_of(each, bands))
    return share_of(masking.audio, steps * bands)


def hidden_text(words: Int[np.ndarray, "*n"], masking: Masking) -> Int[np.ndarray, "*n"]:
    """Return the number of hidden text tokens of captions with `words` tokens; begin and end marks are never hidden."""
    if masking.text == 0:
        return np.zeros_like(words)
    return np.clip(np.floor(masking.text * words + 0.5).astype(np.int64), np.minimum(words, 1), words)


def video_mask(
    steps: int, cells: tuple[int, int], masking: Masking, rng: np.random.Generator
) -> Bool[np.ndarray, " tokens"]:
    """Return a mask of the hidden tokens of the grid `(t, y, x)`; `cells` are its rows and columns."""
    count = cells[0] * cells[1]
    if masking.video_kind == "tube":
        return np.tile(_choose(count, _share_of(masking.video, count), rng), steps)
    if masking.video_kind == "blocks":
        return np.tile(block_mask(cells, _share_of(masking.video, count), rng).ravel(), steps)
    if masking.video_kind == "frame":
        return np.repeat(_choose(steps, _share_of(masking.video, steps), rng), count)
    return _choose(steps * count, _share_of(masking.video, steps * count), rng)


def audio_mask(steps: int, bands: int, masking: Masking, rng: np.random.Generator) -> Bool[np.ndarray, " tokens"]:
    """Return a mask of the hidden tokens of the grid `(t, mel)`."""
    if masking.audio_kind == "time":
        return np.repeat(_choose(steps, _share_of(masking.audio, steps), rng), bands)
    if masking.audio_kind == "frequency":
        return np.tile(_choose(bands, _share_of(masking.audio, bands), rng), steps)
    if masking.audio_kind == "time_frequency":
        each = _of_each_axis(masking.audio)
        time = _choose(steps, _share_of(each, steps), rng)
        return (time[:, None] | _choose(bands, _share_of(each, bands), rng)).ravel()
    return _choose(steps * bands, _share_of(masking.audio, steps * bands), rng)


def text_mask(words: int, masking: Masking, rng: np.random.Generator) -> Bool[np.ndarray, " tokens"]:
    """Return a mask of the text tokens, marks excluded, that the mask token replaces."""
    return _choose(words, int(hidden_text(np.array([words]), masking)[0]), rng)


def _of_each_axis(share: float) -> float:
    """Return the share of steps, and of bands, that together hide the given share of all tokens."""
    # 0.51 of all tokens: 0.3 of each axis leaves 0.7 * 0.7 = 0.49 visible.
    return 1.0 - np.sqrt(1.0 - share)


def _choose(total: int, hidden: int, rng: np.random.Generator) -> np.ndarray:
    """Return a mask over `total` elements with exactly `hidden` of them True, all choices equally likely."""
    mask = np.zeros(total, bool)
    # An exact count, not a draw for each token, because the plan has reserved exactly this many slots.
    mask[rng.permutation(total)[:hidden]] = True
    return mask
