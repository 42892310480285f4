"""Which tokens are hidden from the encoder, drawn on the token grid.

How many are hidden follows from the grid alone (`hidden_video`, `hidden_audio`, `hidden_text`), so
that rows can be planned before anything is decoded; which ones is drawn when the clip is loaded. A
modality always keeps a visible token.

Tube masking hides the same cells at all times (VideoMAE, arXiv 2203.12602, section 3.2); unstructured,
time and frequency masks follow AudioMAE (arXiv 2207.06405, section 3.1), time and frequency together
its fine-tuning; blocks are V-JEPA's (`blocks`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.config import Masking
from mmvideo.input.transforms.block_masks import block_mask


def share_of(share: float, of: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
    """The rounded share of each count, leaving one at least."""
    return np.clip(np.floor(share * of + 0.5).astype(np.int64), 0, np.maximum(of - 1, 0))


def _share_of(share: float, of: int) -> int:
    """The rounded share of one count, leaving one at least."""
    return int(share_of(share, np.array([of]))[0])


def hidden_video(steps: Int[np.ndarray, " n"], cells: int, masking: Masking) -> Int[np.ndarray, " n"]:
    """Video tokens hidden of clips with `steps` tubelet steps of `cells` tokens each."""
    if masking.video_kind in ("tube", "blocks"):
        return steps * _share_of(masking.video, cells)
    if masking.video_kind == "frame":
        return share_of(masking.video, steps) * cells
    return share_of(masking.video, steps * cells)


def hidden_audio(steps: Int[np.ndarray, " n"], bands: int, masking: Masking) -> Int[np.ndarray, " n"]:
    """Audio tokens hidden of clips with `steps` time steps of `bands` mel patches each."""
    if masking.audio_kind == "time":
        return share_of(masking.audio, steps) * bands
    if masking.audio_kind == "frequency":
        return steps * _share_of(masking.audio, bands)
    if masking.audio_kind == "time_frequency":
        each = _of_each_axis(masking.audio)
        return steps * bands - (steps - share_of(each, steps)) * (bands - _share_of(each, bands))
    return share_of(masking.audio, steps * bands)


def hidden_text(words: Int[np.ndarray, "*n"], masking: Masking) -> Int[np.ndarray, "*n"]:
    """Text pieces hidden of captions of so many pieces beside their marks, which are never hidden."""
    if masking.text == 0:
        return np.zeros_like(words)
    return np.clip(np.floor(masking.text * words + 0.5).astype(np.int64), np.minimum(words, 1), words)


def video_mask(
    steps: int, cells: tuple[int, int], masking: Masking, rng: np.random.Generator
) -> Bool[np.ndarray, " tokens"]:
    """True where a token of the grid `(t, y, x)` is hidden; `cells` are its rows and columns."""
    count = cells[0] * cells[1]
    if masking.video_kind == "tube":
        return np.tile(_choose(count, _share_of(masking.video, count), rng), steps)
    if masking.video_kind == "blocks":
        return np.tile(block_mask(cells, _share_of(masking.video, count), rng).ravel(), steps)
    if masking.video_kind == "frame":
        return np.repeat(_choose(steps, _share_of(masking.video, steps), rng), count)
    return _choose(steps * count, _share_of(masking.video, steps * count), rng)


def audio_mask(steps: int, bands: int, masking: Masking, rng: np.random.Generator) -> Bool[np.ndarray, " tokens"]:
    """True where a token of the grid `(t, mel)` is hidden."""
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
    """True where a piece, of so many beside the marks, is to be replaced by the mask piece."""
    return _choose(words, int(hidden_text(np.array([words]), masking)[0]), rng)


def _of_each_axis(share: float) -> float:
    """The share of the steps, and of the bands, that together hide a share of all tokens."""
    return 1.0 - np.sqrt(1.0 - share)


def _choose(total: int, hidden: int, rng: np.random.Generator) -> np.ndarray:
    """A mask over `total` places with exactly `hidden` of them True, all choices equally likely."""
    mask = np.zeros(total, bool)
    mask[rng.permutation(total)[:hidden]] = True
    return mask
