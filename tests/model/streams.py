"""Small random streams for the tests: clips of given lengths, packed into rows."""

from __future__ import annotations

import numpy as np

from mmvideo.stream import (
    MODALITIES,
    PADDING,
    Clips,
    PatchSpec,
    StreamSpec,
    Targets,
    TextSpec,
    TokenLayout,
    TokenStream,
)

SPEC = StreamSpec(
    video=PatchSpec((2, 4, 4, 3), (4, 2, 3), 0.25),
    audio=PatchSpec((4, 8), (6, 2, 1), 0.16),
    text=TextSpec(50, 8, 4),
)


def make_clip(seed: int, *, video=6, audio=5, text=4, hide_video=0, hide_audio=0) -> dict:
    """Return content and cells of a clip: the first cells of each grid; the last patches are hidden."""
    clip = {}
    for name, patches, count, hidden in (
        ("video", SPEC.video, video, hide_video),
        ("audio", SPEC.audio, audio, hide_audio),
    ):
        grid = np.stack(np.unravel_index(np.arange(count), patches.grid), axis=-1)
        numbers = np.random.default_rng([seed, len(clip)]).integers(0, 256, (count, patches.size))
        content = numbers.astype(np.uint8) if name == "video" else (numbers / 128.0 - 1).astype(np.float32)
        clip[name] = (content, (grid[:, 0] + 0.5) * patches.seconds, grid, hidden)
    grid = np.stack([np.zeros(text), np.zeros(text), np.arange(text)], axis=-1)
    text_tokens = np.random.default_rng([seed, len(clip)]).integers(5, 50, text).astype(np.int32)
    clip["text"] = (text_tokens, np.zeros(text), grid, 0)
    return clip


def make_stream(
    rows: list[list[dict]], *, length=40, slots=4, budget=30, hidden=8, decode_length=60, garbage=0
) -> TokenStream:
    """Build a stream of rows of clips; `garbage` seeds the values of unused content slots (0: zeros)."""
    draw = np.random.default_rng(garbage)
    batch = len(rows)

    def junk(shape, dtype):
        if not garbage:
            return np.zeros(shape, dtype)
        return draw.integers(1, 50, shape).astype(dtype)

    content = {"video": junk((batch, budget, SPEC.video.size), np.uint8),
               "audio": junk((batch, budget, SPEC.audio.size), np.float32),
               "text": junk((batch, budget), np.int32)}  # fmt: skip
    targets = {name: Targets(junk((batch, hidden, content[name].shape[2]), content[name].dtype),
                             np.full((batch, hidden), PADDING, np.int32), np.full((batch, hidden), PADDING, np.int32))
               for name in ("video", "audio")}  # fmt: skip
    layout, decode = _empty(batch, length), _empty(batch, decode_length)
    number = np.full((batch, slots), PADDING, np.int32)
    present = np.zeros((batch, slots, 3), bool)
    for row, clips in enumerate(rows):
        used = dict.fromkeys(MODALITIES, 0)
        masked = dict.fromkeys(MODALITIES, 0)
        place = decode_place = 0
        for slot, clip in enumerate(clips):
            number[row, slot] = 100 * row + slot
            for kind, name in enumerate(MODALITIES):
                values, time, grid, hide = clip[name]
                count, shown = len(values), len(values) - hide
                present[row, slot, kind] = count > 0
                content[name][row, used[name] : used[name] + shown] = values[:shown]
                source = kind * budget + used[name] + np.arange(shown)
                _write(layout, row, place, source, kind, slot, time[:shown], grid[:shown])
                if name != "text":
                    aim = targets[name]
                    into = slice(masked[name], masked[name] + hide)
                    aim.content[row, into] = values[shown:]
                    aim.target_index[row, into] = decode_place + shown + np.arange(hide)
                    aim.clip[row, into] = slot
                    source = np.concatenate(
                        [place + np.arange(shown), length + kind * hidden + np.arange(into.start, into.stop)]
                    )
                    _write(decode, row, decode_place, source, kind, slot, time, grid)
                    decode_place += count
                used[name] += shown
                masked[name] += hide
                place += shown
    return TokenStream(content, layout, targets, decode, Clips(number, present, {}))


def _empty(batch: int, length: int) -> TokenLayout:
    shape = (batch, length)
    return TokenLayout(np.zeros(shape, np.int32), np.full(shape, PADDING, np.int32), np.full(shape, PADDING, np.int32),
                  np.zeros(shape, np.float32), np.zeros((*shape, 3), np.int32))  # fmt: skip


def _write(layout: TokenLayout, row: int, place: int, index, kind: int, slot: int, time, grid) -> None:
    into = slice(place, place + len(index))
    layout.source_index[row, into], layout.modality[row, into], layout.clip[row, into] = index, kind, slot
    layout.time[row, into], layout.grid[row, into] = time, grid
