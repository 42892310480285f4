"""Rows with extra tokens against plain Python, and gather and scatter as inverses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.model.fusion.gather import SpecialTokens, TokenPool, permute_tokens
from mmvideo.stream import MODALITIES, PADDING, Modality, attention_spans

BUDGETS = {"video": 30, "audio": 30, "text": 30}


@pytest.fixture(scope="module")
def source(streams):
    """Two rows of clips with all or some modalities; two extra tokens per modality, and one more for two of them."""
    rows = [
        [streams.make_clip(1), streams.make_clip(2, audio=0, text=2)],
        [streams.make_clip(3, video=3, text=0), streams.make_clip(4, video=0, audio=0)],
    ]
    layout = jax.tree.map(jnp.asarray, streams.make_stream(rows).layout)
    return (
        TokenPool.of(layout, 4, BUDGETS)
        .with_extra(SpecialTokens(MODALITIES, 2))
        .with_extra(SpecialTokens(("video", "text"), 1))
    )


def listed(source, row):
    """Return the indices of a pool by clip and modality, in order."""
    found = {}
    for place in np.flatnonzero(source.layout.modality[row] != PADDING):
        key = int(source.layout.clip[row, place]), MODALITIES[int(source.layout.modality[row, place])]
        found.setdefault(key, []).append(int(place))
    return found


def test_a_source_lists_extra_tokens_for_what_each_clip_has(source):
    assert source.layout.modality.shape == (2, 40 + 4 * 3 * 2 + 4 * 2 * 1)
    counts = {key: len(places) for key, places in listed(source, 0).items()}
    assert counts == {(0, "video"): 9, (0, "audio"): 7, (0, "text"): 7, (1, "video"): 9, (1, "text"): 5}
    assert (listed(source, 1)[1, "text"])[-3:] == [40 + (3 + 2) * 2, 40 + (3 + 2) * 2 + 1, 40 + 24 + 2 + 1]


@pytest.mark.parametrize("order", [MODALITIES, ("video", "text", "audio"), ("text",), ("audio", "video")])
def test_rows_are_sorted_by_clip_modality_and_place(source, order):
    rows = source.rows(order)
    for row in range(2):
        found = listed(source, row)
        want = [place for clip in range(4) for name in order for place in found.get((clip, name), [])]
        got = np.asarray(rows.gather_index[row])
        np.testing.assert_array_equal(got[: len(want)], want)
        assert (got[len(want) :] == PADDING).all() and (got[:3] >= 0).all()
        np.testing.assert_array_equal(rows.layout.clip[row, : len(want)], source.layout.clip[row, np.array(want)])
        back = np.full(source.layout.modality.shape[1], PADDING)
        back[want] = np.arange(len(want))
        np.testing.assert_array_equal(rows.scatter_index[row], back)
    assert (np.asarray(rows.layout.time)[np.asarray(rows.gather_index) >= 40] == 0).all()


def test_a_row_is_as_long_as_it_can_ever_need(streams):
    """A row's length: extra tokens only for clips with the modality, and for no more clips than it has tokens."""
    layout = jax.tree.map(jnp.asarray, streams.make_stream([[streams.make_clip(1)]]).layout)
    source = TokenPool.of(layout, 4, {"video": 20, "audio": 3, "text": 90}).with_extra(SpecialTokens(MODALITIES, 2))
    assert source.rows(("video",)).gather_index.shape[1] == 20 + 4 * 2
    assert source.rows(("audio",)).gather_index.shape[1] == 3 + 3 * 2
    assert source.rows(("text",)).gather_index.shape[1] == 40 + 4 * 2
    assert source.rows(MODALITIES).gather_index.shape[1] == 40 + (4 + 3 + 4) * 2


def test_rows_without_extra_tokens_are_the_streams_own(streams):
    layout = jax.tree.map(jnp.asarray, streams.make_stream([[streams.make_clip(1)]]).layout)
    rows = TokenPool.of(layout, 4, BUDGETS).rows(MODALITIES)
    x = jnp.ones((1, 40, 3))
    assert rows.layout is layout and rows.gather(x) is x and rows.scatter(x) is x


def test_extra_tokens_belong_to_the_last_caption(streams):
    layout = streams.make_stream([[streams.make_clip(1)]]).layout
    grid = layout.grid.copy()
    text_tokens = np.flatnonzero(layout.modality[0] == Modality.TEXT)
    grid[0, text_tokens[2:], 1] = 1
    layout = jax.tree.map(jnp.asarray, dataclasses.replace(layout, grid=grid))
    rows = TokenPool.of(layout, 4, BUDGETS).with_extra(SpecialTokens(MODALITIES, 1)).rows(("text",))
    spans = np.asarray(attention_spans(rows.layout, [[name] for name in MODALITIES]))[0]
    np.testing.assert_array_equal(spans[:5], [[0, 2], [0, 2], [2, 5], [2, 5], [2, 5]])


def test_moving_there_and_back_loses_nothing_and_turns_gradients_back(source):
    rows = source.rows(("text", "video"))
    draw = np.random.default_rng(0)
    x = jnp.asarray(draw.normal(size=(2, source.layout.modality.shape[1], 2, 3)), jnp.float32)
    moved = np.asarray(rows.gather(x))
    there = np.asarray(rows.gather_index)
    for row in range(2):
        np.testing.assert_array_equal(moved[row][there[row] >= 0], np.asarray(x)[row][there[row][there[row] >= 0]])
    assert (moved[there < 0] == 0).all()
    kept = (np.asarray(rows.scatter_index) != PADDING)[..., None, None]
    np.testing.assert_array_equal(rows.scatter(rows.gather(x)), np.where(kept, x, 0))
    gradient = jnp.asarray(draw.normal(size=moved.shape), jnp.float32)
    _, back = jax.vjp(lambda x: permute_tokens(x, rows.gather_index, rows.scatter_index), x)
    _, plain = jax.vjp(
        lambda x: jnp.where(
            (rows.gather_index >= 0)[..., None, None], jax.vmap(jnp.take, (0, 0, None))(x, rows.gather_index, 0), 0
        ),
        x,
    )
    np.testing.assert_array_equal(back(gradient)[0], plain(gradient)[0])
