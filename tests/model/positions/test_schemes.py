"""Every scheme of positions against its published formula, written out for one token in float64."""

import dataclasses
import math
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import Model, model_dims
from mmvideo.model.positions.schemes import Position, rotate
from mmvideo.stream import Modality, PatchSpec, StreamSpec, TextSpec, TokenLayout

SPEC = StreamSpec(
    video=PatchSpec((2, 4, 4, 3), (16, 14, 15), 0.25),
    audio=PatchSpec((4, 8), (60, 8, 1), 0.16),
    text=TextSpec(50, 40, 4),
)
TOKENS = [
    # modality, seconds, (t, y, x)
    (Modality.VIDEO, 0.125, (0, 0, 0)),
    (Modality.VIDEO, 1.375, (5, 13, 2)),
    (Modality.VIDEO, 3.875, (15, 13, 14)),
    (Modality.AUDIO, 0.08, (0, 0, 0)),
    (Modality.AUDIO, 9.52, (59, 7, 0)),
    (Modality.TEXT, 0.0, (0, 0, 1)),
    (Modality.TEXT, 0.0, (0, 2, 39)),
]
WIDTH = 40
SCHEMES = typing.get_args(typing.get_type_hints(Model)["position"])


def layout():
    modality, time, grid = (np.array(x)[None] for x in zip(*TOKENS, strict=True))
    index = np.zeros_like(modality)
    fields = (index, modality.astype(np.int32), index, time.astype(np.float32), grid.astype(np.int32))
    return TokenLayout(*map(jnp.asarray, fields))


def added(scheme, width=WIDTH):
    """Return the positions that a scheme adds to each token, and its module."""
    position = Position(scheme, SPEC, width, 8, rngs=nnx.Rngs(0))
    zeros = jnp.zeros((1, len(TOKENS), width))
    return np.asarray(jax.jit(lambda x, rows: position.add(x, rows))(zeros, layout()), np.float64)[0], position


def flat(modality, grid):
    """Return the row-major index of a cell in its grid; for text the index of the token."""
    if modality == Modality.TEXT:
        return grid[2]
    _, rows, columns = getattr(SPEC, modality.name.lower()).grid
    return (grid[0] * rows + grid[1]) * columns + grid[2]


def sines_then_cosines(place, width):
    """Compute `get_1d_sincos_pos_embed_from_grid` of MAE."""
    angles = [place / 10000 ** (pair / (width / 2)) for pair in range(width // 2)]
    return [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]


def videomae(modality, grid, width):
    """Compute `get_sinusoid_encoding_table`: sine and cosine alternate."""
    angles = [flat(modality, grid) / 10000 ** (2 * (number // 2) / width) for number in range(width)]
    return [math.cos(angle) if number % 2 else math.sin(angle) for number, angle in enumerate(angles)]


def mae(modality, grid, width):
    """Compute `get_2d_sincos_pos_embed`, in which the column comes first."""
    if modality == Modality.TEXT:
        return sines_then_cosines(grid[2], width)
    row, column = grid[:2] if modality == Modality.AUDIO else grid[1:]
    return sines_then_cosines(column, width // 2) + sines_then_cosines(row, width // 2)


def cav_mae(modality, grid, width):
    """Compute the same, called with mel rows by time columns."""
    return mae(modality, (grid[1], grid[0]) if modality == Modality.AUDIO else grid, width)


def audiomae(modality, grid, width):
    """Compute the same with swapped sides of the grid: tokens read its table in sequence."""
    if modality != Modality.AUDIO:
        return mae(modality, grid, width)
    table = [mae(modality, (row, column), width) for row in range(8) for column in range(60)]
    return table[grid[0] * 8 + grid[1]]


def vjepa(modality, grid, width):
    """Compute `get_3d_sincos_pos_embed` with `uniform_power`."""
    if modality == Modality.TEXT:
        return sines_then_cosines(grid[2], width)
    third = math.ceil(width / 6) * 2
    return [number for place in grid for number in sines_then_cosines(place, third)][:width]


@pytest.mark.parametrize(
    ("scheme", "formula", "width"),
    [
        ("sincos_1d", videomae, 40),
        ("sincos_2d", mae, 40),
        ("sincos_2d_time_first", cav_mae, 40),
        ("sincos_2d_turned", audiomae, 40),
        ("sincos_3d", vjepa, 40),
        ("sincos_3d", vjepa, 36),
    ],
)
def test_fixed_positions_are_the_published_ones(scheme, formula, width):
    wanted = [formula(modality, grid, width) for modality, _, grid in TOKENS]
    np.testing.assert_allclose(added(scheme, width)[0], wanted, atol=1e-6)


def test_sincos_tells_seconds_and_cells():
    got, _ = added("sincos")
    for row, (modality, seconds, grid) in zip(got, TOKENS, strict=True):
        pairs = WIDTH // 2
        waves = [2 * math.pi / wave for wave in np.geomspace(0.5, 128, pairs - 2 * (pairs // 3))]
        cells = [2 * math.pi / wave for wave in np.geomspace(4, 400, pairs // 3)]
        angles = (
            [seconds * wave for wave in waves] + [grid[1] * wave for wave in cells] + [grid[2] * wave for wave in cells]
        )
        wanted = [math.sin(angle) for angle in angles] + [math.cos(angle) for angle in angles]
        # An angle of 120 radians, the largest here, has a rounding error of 120 * 2^-23 in float32.
        np.testing.assert_allclose(row, wanted, atol=1.5e-5, err_msg=modality.name)


def test_learned_positions_are_a_row_an_axis_summed():
    got, position = added("learned")
    tables = {name: np.asarray(value) for name, value in nnx.to_pure_dict(nnx.state(position.tables)).items()}
    sizes = {name: len(table) for name, table in tables.items()}
    assert sizes == {"video_time": 16, "video_y": 14, "video_x": 15, "audio_time": 60, "audio_y": 8, "text_x": 40}
    for row, (modality, _, (t, y, x)) in zip(got, TOKENS, strict=True):
        if modality == Modality.VIDEO:
            wanted = tables["video_time"][t] + tables["video_y"][y] + tables["video_x"][x]
        elif modality == Modality.AUDIO:
            wanted = tables["audio_time"][t] + tables["audio_y"][y]
        else:
            wanted = tables["text_x"][x]
        np.testing.assert_allclose(row, wanted, atol=1e-6)


def test_learned_1d_positions_are_a_row_a_cell():
    got, position = added("learned_1d")
    tables = {name: np.asarray(value) for name, value in nnx.to_pure_dict(nnx.state(position.tables)).items()}
    assert {name: len(table) for name, table in tables.items()} == {"video": 16 * 14 * 15, "audio": 60 * 8, "text": 40}
    wanted = [tables[modality.name.lower()][flat(modality, grid)] for modality, _, grid in TOKENS]
    np.testing.assert_array_equal(got, np.asarray(wanted, np.float64))


@pytest.mark.parametrize("scheme", ["learned", "learned_1d", "sincos_1d"])
def test_places_beyond_the_grid_take_the_last_row(scheme):
    rows = layout()
    far = dataclasses.replace(rows, grid=rows.grid + jnp.where(rows.grid == 15, 7, 0))
    position = Position(scheme, SPEC, WIDTH, 8, rngs=nnx.Rngs(0))
    zeros = jnp.zeros((1, len(TOKENS), WIDTH))
    np.testing.assert_array_equal(position.add(zeros, far), position.add(zeros, rows))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_position_is_the_tokens_own(scheme):
    """The position does not depend on the index in the row, so packed equals separate."""
    position = Position(scheme, SPEC, WIDTH, 8, rngs=nnx.Rngs(0))
    order = np.array([4, 2, 6, 0, 5, 1, 3])
    moved = jax.tree.map(lambda x: x[:, order], layout())
    zeros = jnp.zeros((1, len(TOKENS), WIDTH))
    np.testing.assert_array_equal(position.add(zeros, moved), position.add(zeros, layout())[:, order])


@pytest.mark.parametrize("head", [8, 20, 64])
def test_rotary_3d_is_vjepas(head):
    """Compare with `rotate_queries_or_keys` of V-JEPA 2: tiled sines, neighbouring pairs, the rest unchanged."""
    size = 2 * ((head // 3) // 2)
    cosine, sine = Position("rotary_3d", SPEC, WIDTH, head, rngs=nnx.Rngs(0)).rotation(layout())
    x = np.random.default_rng(0).normal(size=(1, len(TOKENS), 2, head)).astype(np.float32)
    got = np.asarray(rotate(jnp.asarray(x), (cosine, sine)))
    for number, (_, _, grid) in enumerate(TOKENS):
        wanted = x[0, number].astype(np.float64).copy()
        for axis in range(3):
            for place in range(size):
                angle = grid[axis] / 10000 ** ((place % (size // 2)) / (size / 2))
                own, other = axis * size + place, axis * size + place + (-1 if place % 2 else 1)
                across = x[0, number, :, other] * (1 if place % 2 else -1)
                wanted[:, own] = x[0, number, :, own] * math.cos(angle) + across * math.sin(angle)
        np.testing.assert_allclose(got[0, number], wanted, atol=2e-5)
    assert 3 * size == {8: 6, 20: 18, 64: 60}[head]


@pytest.mark.parametrize("scheme", ["none", "rotary"])
def test_none_and_rotary_add_nothing(scheme):
    got, position = added(scheme)
    assert (got == 0).all()
    assert (position.rotation(layout()) is None) == (scheme == "none")


@pytest.mark.parametrize(
    ("scheme", "width", "reason"), [("sincos_1d", 15, "a multiple of 2"), ("sincos_2d", 18, "a multiple of 4")]
)
def test_widths_that_do_not_fit_are_refused(scheme, width, reason):
    with pytest.raises(ValueError, match=f"model.width {width}.*{scheme}.*{reason}"):
        model_dims(Model(width=width, heads=1, position=scheme))
