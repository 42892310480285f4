"""Resized tables against interpolation written out row by row in numpy."""

import dataclasses

import numpy as np
import pytest

from mmvideo.model.positions.resize import resize_positions
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec

OLD = StreamSpec(PatchSpec((2, 4, 4, 3), (4, 3, 5), 0.5), PatchSpec((4, 8), (6, 2, 1), 0.2), TextSpec(50, 8, 4))
WIDTH = 3
TABLES = "trunk.position.tables."


def hat(distance):
    return np.maximum(1 - np.abs(distance), 0)


def keys(distance):
    """Keys 1981, equation 15: cubic convolution with a = -1/2."""
    near, x = np.abs(distance) <= 1, np.abs(distance)
    return np.where(near, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def resampled(values, count, scale, kernel):
    """Resample the first axis to `count` cells, `scale` per old cell; a coarser grid averages over more cells."""
    rows = []
    for cell in range(count):
        middle = (cell + 0.5) / scale - 0.5
        weights = kernel((np.arange(len(values)) - middle) * min(scale, 1))
        rows.append(np.tensordot(weights / weights.sum(), values, 1))
    return np.stack(rows)


def tables(spec, draw):
    """Return random tables of both kinds for a spec."""
    video, audio = spec.video.grid, spec.audio.grid
    rows = {"video_time": video[0], "video_y": video[1], "video_x": video[2], "audio_time": audio[0]}
    rows |= {"audio_y": audio[1], "text_x": spec.text.length}
    rows |= {"video": np.prod(video), "audio": np.prod(audio), "text": spec.text.length}
    return {TABLES + name: draw.normal(size=(size, WIDTH)).astype(np.float32) for name, size in rows.items()}


def changed(video=None, audio=None, text=None):
    return StreamSpec(
        dataclasses.replace(OLD.video, **(video or {})),
        dataclasses.replace(OLD.audio, **(audio or {})),
        dataclasses.replace(OLD.text, **(text or {})),
    )


@pytest.mark.parametrize(
    ("spec", "time_scale"),
    [
        (changed(video={"grid": (4, 6, 5)}), 1),  # more rows of pixels
        (changed(video={"grid": (4, 2, 10)}), 1),  # fewer rows, more columns
        (changed(video={"grid": (8, 3, 5), "seconds": 0.25}), 2),  # twice the frame rate
        (changed(video={"grid": (6, 3, 5), "seconds": 0.25}), 2),  # and a shorter clip
        (changed(video={"grid": (3, 3, 5)}), 1),  # a shorter clip
        (changed(video={"grid": (10, 3, 5)}), 2.5),  # a longer clip: stretched
        (changed(video={"grid": (2, 6, 10), "seconds": 1.0}), 0.5),  # half the frame rate, larger frames
    ],
)
def test_video_tables_are_interpolated(spec, time_scale):
    draw = np.random.default_rng(0)
    old, new = tables(OLD, draw), tables(spec, draw)
    got = resize_positions(old, new, OLD, spec)
    steps, rows, columns = spec.video.grid

    def exact(values, axes):
        """Resampled along the axes, in their order."""
        for place, axis in enumerate(axes):
            scale = time_scale if axis == 0 else spec.video.grid[axis] / OLD.video.grid[axis]
            moved = np.moveaxis(values, place, 0)
            moved = resampled(moved, spec.video.grid[axis], scale, hat if axis == 0 else keys)
            values = np.moveaxis(moved, 0, place)
        return values

    for axis, name in enumerate(("video_time", "video_y", "video_x")):
        np.testing.assert_allclose(got[TABLES + name], exact(old[TABLES + name], [axis]), atol=1e-6)
    flat = exact(old[TABLES + "video"].reshape(*OLD.video.grid, WIDTH), range(3))
    np.testing.assert_allclose(got[TABLES + "video"], flat.reshape(steps * rows * columns, WIDTH), atol=1e-6)
    for name in ("audio_time", "audio_y", "text_x", "audio", "text"):
        np.testing.assert_array_equal(got[TABLES + name], old[TABLES + name])


def test_sound_is_retimed_and_its_mel_bins_resized():
    spec = changed(audio={"grid": (9, 4, 1), "seconds": 0.1})
    draw = np.random.default_rng(0)
    old = tables(OLD, draw)
    got = resize_positions(old, tables(spec, draw), OLD, spec)
    np.testing.assert_allclose(got[TABLES + "audio_time"], resampled(old[TABLES + "audio_time"], 9, 2, hat), atol=1e-6)
    np.testing.assert_allclose(got[TABLES + "audio_y"], resampled(old[TABLES + "audio_y"], 4, 2, keys), atol=1e-6)
    timed = resampled(old[TABLES + "audio"].reshape(6, 2, WIDTH), 9, 2, hat)
    both = np.moveaxis(resampled(np.moveaxis(timed, 1, 0), 4, 2, keys), 0, 1)
    np.testing.assert_allclose(got[TABLES + "audio"], both.reshape(-1, WIDTH), atol=1e-6)


@pytest.mark.parametrize("length", [5, 12])
def test_text_is_cut_or_extended(length):
    spec = changed(text={"length": length})
    draw = np.random.default_rng(0)
    old, new = tables(OLD, draw), tables(spec, draw)
    for name in (TABLES + "text_x", TABLES + "text"):
        got = resize_positions(old, new, OLD, spec)[name]
        np.testing.assert_array_equal(got[:8], old[name][:length])
        np.testing.assert_array_equal(got[8:], new[name][8:])


def test_what_is_no_table_of_both_stays_as_it_is():
    spec = changed(video={"grid": (4, 6, 5)})
    draw = np.random.default_rng(0)
    old, new = tables(OLD, draw), tables(spec, draw)
    wide = np.zeros((3, WIDTH + 1), np.float32)
    old |= {"trunk.video_y": wide[:, :WIDTH], TABLES + "video_y": wide}
    new |= {"trunk.video_y": old[TABLES + "video_x"]}
    got = resize_positions(old, new, OLD, spec)
    assert got["trunk.video_y"] is old["trunk.video_y"] and got[TABLES + "video_y"] is wide
    silent = dataclasses.replace(OLD, audio=None)
    assert resize_positions(old, new, silent, spec)[TABLES + "audio"] is old[TABLES + "audio"]


def test_a_space_encoder_has_the_rows_of_space_and_the_trunk_behind_it_those_of_time():
    """A flat table resized like two one-axis tables and a table of a single frame."""
    draw, spec = np.random.default_rng(0), changed(video={"grid": (8, 6, 5), "seconds": 0.25})
    sizes = {"trunk.space.position.tables.video": (15, 30), "trunk.position.tables.video": (4, 8)}
    old, new = ({name: draw.normal(size=(rows[end], WIDTH)) for name, rows in sizes.items()} for end in (0, 1))
    got = resize_positions(old, new, OLD, spec)
    time = resampled(old["trunk.position.tables.video"], 8, 2, hat)
    np.testing.assert_allclose(got["trunk.position.tables.video"], time, atol=1e-6)
    rows = resampled(old["trunk.space.position.tables.video"].reshape(3, 5, WIDTH), 6, 2, keys)
    np.testing.assert_allclose(got["trunk.space.position.tables.video"], rows.reshape(30, WIDTH), atol=1e-6)


def test_tables_over_something_else_stay():
    """Unresized tables: a flat one of a model without a space encoder, and the time axis in one, of a single cell."""
    old = {TABLES + "video": np.ones((60, WIDTH)), "trunk.space.position.tables.video_time": np.ones((1, WIDTH))}
    new = {TABLES + "video": np.ones((4, WIDTH)), "trunk.space.position.tables.video_time": np.ones((1, WIDTH))}
    got = resize_positions(old, new, OLD, changed(video={"grid": (8, 3, 5), "seconds": 0.25}))
    assert {name: got[name].shape for name in old} == {name: table.shape for name, table in old.items()}
