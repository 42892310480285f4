"""Which tokens are hidden from the encoder, drawn on the token grid.

How many are hidden follows from the grid alone (`hidden_video`, `hidden_audio`, `hidden_text`), so
that rows can be planned before anything is decoded; which ones is drawn when the clip is loaded. A
modality always keeps a visible token.

Tube masking hides the same cells at all times (VideoMAE, arXiv 2203.12602, section 3.2); unstructured,
time and frequency masks follow AudioMAE (arXiv 2207.06405, section 3.1).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.config import Masking


def _share(share: float, of: np.ndarray) -> np.ndarray:
    """The rounded share of each count, leaving one at least."""
    return np.clip(np.floor(share * of + 0.5).astype(np.int64), 0, np.maximum(of - 1, 0))


def _share_of(share: float, of: int) -> int:
    """The rounded share of one count, leaving one at least."""
    return int(_share(share, np.array([of]))[0])


def hidden_video(steps: Int[np.ndarray, " n"], cells: int, masking: Masking) -> Int[np.ndarray, " n"]:
    """Video tokens hidden of clips with `steps` tubelet steps of `cells` tokens each."""
    if masking.video_kind == "tube":
        return steps * _share_of(masking.video, cells)
    if masking.video_kind == "frame":
        return _share(masking.video, steps) * cells
    return _share(masking.video, steps * cells)


def hidden_audio(steps: Int[np.ndarray, " n"], bands: int, masking: Masking) -> Int[np.ndarray, " n"]:
    """Audio tokens hidden of clips with `steps` time steps of `bands` mel patches each."""
    if masking.audio_kind == "time":
        return _share(masking.audio, steps) * bands
    if masking.audio_kind == "frequency":
        return steps * _share_of(masking.audio, bands)
    return _share(masking.audio, steps * bands)


def hidden_text(words: Int[np.ndarray, " n"], masking: Masking) -> Int[np.ndarray, " n"]:
    """Text pieces hidden of captions of so many pieces beside their marks, which are never hidden."""
    if masking.text == 0:
        return np.zeros_like(words)
    return np.clip(np.floor(masking.text * words + 0.5).astype(np.int64), np.minimum(words, 1), words)


def video_mask(steps: int, cells: int, masking: Masking, rng: np.random.Generator) -> Bool[np.ndarray, " tokens"]:
    """True where a token of the grid `(t, y x)` is hidden."""
    if masking.video_kind == "tube":
        return np.tile(_choose(cells, _share_of(masking.video, cells), rng), steps)
    if masking.video_kind == "frame":
        return np.repeat(_choose(steps, _share_of(masking.video, steps), rng), cells)
    return _choose(steps * cells, _share_of(masking.video, steps * cells), rng)


def audio_mask(steps: int, bands: int, masking: Masking, rng: np.random.Generator) -> Bool[np.ndarray, " tokens"]:
    """True where a token of the grid `(t, mel)` is hidden."""
    if masking.audio_kind == "time":
        return np.repeat(_choose(steps, _share_of(masking.audio, steps), rng), bands)
    if masking.audio_kind == "frequency":
        return np.tile(_choose(bands, _share_of(masking.audio, bands), rng), steps)
    return _choose(steps * bands, _share_of(masking.audio, steps * bands), rng)


def text_mask(words: int, masking: Masking, rng: np.random.Generator) -> Bool[np.ndarray, " tokens"]:
    """True where a piece, of so many beside the marks, is to be replaced by the mask piece."""
    return _choose(words, int(hidden_text(np.array([words]), masking)[0]), rng)


def _choose(total: int, hidden: int, rng: np.random.Generator) -> np.ndarray:
    """A mask over `total` places with exactly `hidden` of them True, all choices equally likely."""
    mask = np.zeros(total, bool)
    mask[rng.permutation(total)[:hidden]] = True
    return mask
