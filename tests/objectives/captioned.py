"""Clips with captions between marks, for tests that read and generate them."""

import dataclasses

import numpy as np
from synthetic_streams import SPEC as SILENT_MARKS
from synthetic_streams import TINY, part, random_clip

from mmvideo.model.config import Fusion

BEGIN, END = 2, 3
SPEC = dataclasses.replace(SILENT_MARKS, text=dataclasses.replace(SILENT_MARKS.text, begin_id=BEGIN, end_id=END))
SMALL = dataclasses.replace(TINY, depth=2, fusion=Fusion("mid", 1, text="causal"))


def caption(seed, modalities, text_tokens, captions=(), hidden=()):
    """Return a clip with the given tokens between its marks, followed by further captions."""
    clip = random_clip(seed, [name for name in modalities if name != "text"], hide=False)
    if "text" not in modalities:
        return clip
    texts = [np.array([BEGIN, *text, END], np.int32) for text in (text_tokens, *captions)]
    grid = np.concatenate(
        [np.stack([np.zeros(len(t)), np.full(len(t), n), np.arange(len(t))], -1) for n, t in enumerate(texts)]
    ).astype(np.int32)
    tokens = part(np.concatenate(texts), None, hidden)
    return {**clip, "text": dataclasses.replace(tokens, grid=grid)}
