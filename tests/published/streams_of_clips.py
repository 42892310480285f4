"""Streams of a clip a row from arrays of tokens, as the input would make them."""

from __future__ import annotations

import numpy as np

from mmvideo.stream import MODALITIES, PADDING, Clips, Targets, TokenLayout, TokenStream

Part = tuple[np.ndarray, np.ndarray]
"""Content of tokens, and their cells `[N, 3]`."""


def cells(*grid: int) -> np.ndarray:
    """Every cell of a grid of three axes, row by row."""
    return np.stack(np.unravel_index(np.arange(np.prod(grid)), grid), axis=-1)


def patches(frames: np.ndarray, tubelet: tuple[int, int, int]) -> np.ndarray:
    """Frames `[T, C, Y, X]` as patches `[N, t y x C]` in the order of the grid."""
    (t, y, x), (steps, colours, height, width) = tubelet, frames.shape
    cut = frames.reshape(steps // t, t, colours, height // y, y, width // x, x)
    return np.ascontiguousarray(cut.transpose(0, 3, 5, 1, 4, 6, 2).reshape(-1, t * y * x * colours))


def make_stream(rows: list[dict[str, Part]], hidden: list[dict[str, Part]] | None = None) -> TokenStream:
    """One clip a row: what the encoder sees of each modality, and what is hidden from it.

    The rows of the decoder hold what is seen, modality by modality each followed by its own hidden tokens.
    """
    names = [name for name in MODALITIES if name in rows[0]]
    most = {name: max(len(row[name][0]) for row in rows) for name in names}
    length = sum(most.values())
    content = {name: np.stack([_padded(row[name][0], most[name]) for row in rows]) for name in names}
    layouts, decodes, targets = [], [], {name: [] for name in names}
    for number, row in enumerate(rows):
        seen, both, place, start = [], [], 0, 0
        for name in names:
            grid = row[name][1]
            kind = np.full(len(grid), MODALITIES.index(name))
            seen.append((start + np.arange(len(grid)), kind, grid))
            both.append((place + np.arange(len(grid)), kind, grid))
            place, start = place + len(grid), start + most[name]
            if hidden is not None and name in hidden[number]:
                more = hidden[number][name][1]
                aim = sum(len(each[0]) for each in both) + np.arange(len(more))
                after = length + sum(len(hidden[number][other][0]) for other in names[: names.index(name)])
                both.append((after + np.arange(len(more)), np.full(len(more), MODALITIES.index(name)), more))
                targets[name].append((hidden[number][name][0], aim))
        layouts.append(_layout(seen, length))
        decodes.append(_layout(both, sum(len(each[0]) for each in both)))
    aims = {
        name: Targets(
            np.stack([one for one, _ in found]),
            np.stack([aim for _, aim in found]).astype(np.int32),
            np.zeros((len(rows), len(found[0][1])), np.int32),
        )
        for name, found in targets.items()
        if found
    }
    present = np.array([[[name in row for name in MODALITIES]] for row in rows])
    clips = Clips(np.arange(len(rows), dtype=np.int32)[:, None], present, {})
    return TokenStream(content, _stacked(layouts), aims, _stacked(decodes) if hidden is not None else None, clips)


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    return np.pad(values, [(0, count - len(values))] + [(0, 0)] * (values.ndim - 1))


def _layout(parts: list, length: int) -> TokenLayout:
    index, kind, grid = (np.concatenate([part[field] for part in parts]) for field in range(3))
    rest = length - len(index)
    return TokenLayout(
        np.pad(index, (0, rest)).astype(np.int32),
        np.pad(kind, (0, rest), constant_values=PADDING).astype(np.int32),
        np.pad(np.zeros(len(index)), (0, rest), constant_values=PADDING).astype(np.int32),
        np.zeros(length, np.float32),
        np.pad(grid, ((0, rest), (0, 0))).astype(np.int32),
    )


def _stacked(layouts: list[TokenLayout]) -> TokenLayout:
    fields = ("source_index", "modality", "clip", "time", "grid")
    return TokenLayout(*(np.stack([getattr(layout, field) for layout in layouts]) for field in fields))
