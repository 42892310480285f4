"""Streams of clips made in memory, woven by the input room's own `assemble_row`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmvideo.input.clip_loader import Tokens
from mmvideo.input.collate import BatchShape, assemble_row, stack_rows
from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec, TokenStream

SPEC = StreamSpec(
    video=PatchSpec((2, 4, 4, 3), (3, 2, 2), 0.25),
    audio=PatchSpec((4, 8), (4, 2, 1), 0.16),
    text=TextSpec(40, 8, 4),
)
TINY = Model(
    depth=3, width=48, heads=4, feed_forward=96, fusion=Fusion("mid", 2, 1), compute="float32",
    decoder=Decoder(1, 24, 2),
)  # fmt: skip
HIDDEN = ("video", "audio", "text")


def part(content: np.ndarray, patches: PatchSpec | None, hidden: Sequence[int] = ()) -> Tokens:
    """The tokens of one modality, in the first cells of its grid; `patches` is None for text."""
    count = len(content)
    shape = (1, 1, count) if patches is None else patches.grid
    grid = np.stack(np.unravel_index(np.arange(count), shape), axis=-1).astype(np.int32)
    time = np.zeros(count, np.float32) if patches is None else ((grid[:, 0] + 0.5) * patches.seconds).astype(np.float32)
    return Tokens(content, np.isin(np.arange(count), hidden), grid, time)


def random_clip(seed: int, modalities: Sequence[str] = HIDDEN, hide: bool = True) -> dict[str, Tokens]:
    """A clip of noise; a third of each modality is hidden."""
    draw = np.random.default_rng(seed)
    clip = {}
    if "video" in modalities:
        pixels = draw.integers(0, 256, (6, SPEC.video.size)).astype(np.uint8)
        clip["video"] = part(pixels, SPEC.video, [1, 4] if hide else [])
    if "audio" in modalities:
        clip["audio"] = part(draw.normal(size=(6, SPEC.audio.size)).astype(np.float32), SPEC.audio, [0, 5] * hide)
    if "text" in modalities:
        clip["text"] = part(draw.integers(5, 40, 6).astype(np.int32), None, [2, 3] * hide)
    return clip


def make_stream(
    clips: Sequence[Mapping[str, Tokens] | None],
    rows: int,
    slots: int,
    *,
    labels: Mapping[str, np.ndarray] | None = None,
    spec: StreamSpec = SPEC,
    hidden: Sequence[str] = HIDDEN,
) -> TokenStream:
    """A batch with `slots` clips a row, in order; None is a clip that cannot be read.

    A row has room for `slots` of the largest clip, or of `random_clip` where that is larger, so that
    batches of any of its clips have one shape.
    """
    needs = np.array([_needs(clip or {}) for clip in clips]).reshape(-1, 9)
    parts = [range(row * slots, min((row + 1) * slots, len(clips))) for row in range(rows)]
    largest = [_needs(random_clip(0, hide=hide)) for hide in (True, False)]
    budget = slots * np.max([*needs, *largest], axis=0)
    labels = dict(labels or {})
    shape = BatchShape(spec, budget, tuple(hidden), tuple(labels))
    made = [
        assemble_row(shape, np.array(n, np.int64), [clips[i] for i in n], needs[list(n)].reshape(-1, 9), labels)
        for n in parts
    ]
    return stack_rows(made)


def _needs(clip: Mapping[str, Tokens]) -> list[int]:
    """Return the size of a clip by each of `token_counts.TOKEN_BUDGETS`."""
    total = {name: len(clip[name].hidden) if name in clip else 0 for name in HIDDEN}
    gone = {name: int(clip[name].hidden.sum()) if name in clip else 0 for name in HIDDEN}
    video, audio = total["video"] - gone["video"], total["audio"] - gone["audio"]
    tokens = video + audio + total["text"]
    return [tokens, 1, video, audio, total["text"], *gone.values(), total["video"] + total["audio"]]
