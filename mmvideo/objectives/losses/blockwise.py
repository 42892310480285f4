"""Sums over all pairs of two sides of a batch, one block of columns at a time, in memory linear in the batch.

The sides are compared over the whole global batch. On a mesh, rows stay on their device, and every device computes each
block of columns in turn. The results are those of the whole matrix on one device, while no device ever holds more than
its rows times one block. The backward pass computes each block again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.sharding import by_rows

NEG_INF = -1e9
"""Product of a pair that takes no part, and logarithm of an empty sum; finite, so that gradients are."""


class SideEmbeddings(NamedTuple):
    """One side of a comparison.

    Attributes:
      vector: Compared vectors; for `sum_pairs` also a tuple of several.
      valid: Mask of the rows that take part.
      place: Clip of the batch that a row belongs to. Rows of both sides with the same place belong together.
      number: Clip of the corpus that a row belongs to, or several numbers a row, such as those of its clip and its
        caption. Rows at different places that share a number are never compared.
    """

    vector: Float[Array, "n d"] | tuple[Float[Array, "n _"], ...]
    valid: Bool[Array, " n"]
    place: Int[Array, " n"]
    number: Int[Array, "n *r"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def logsumexp_pairs(
    rows: SideEmbeddings, columns: SideEmbeddings, chunk: int | None
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " m"]]:
    """Return logarithms of sums of `exp(row · column)`: over own pairs, over others by row, and over others by column.

    Args:
      rows: `n` rows, whose vectors include the scale of the logits.
      columns: `m` columns.
      chunk: Columns of a block. None takes all at once.

    Returns:
      For each row, the sum over the columns that belong to it, and over those that belong to others. For each column,
        the
      sum over the rows that it does not belong to. An empty sum is `NEG_INF`.
    """
    return _sweep(rows, columns, chunk, jax.nn.logsumexp, jnp.logaddexp)


def max_pairs(
    rows: SideEmbeddings, columns: SideEmbeddings, chunk: int | None
) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " m"]]:
    """Return the greatest products instead of the sums of `logsumexp_pairs`, without a gradient."""
    rows, columns = jax.lax.stop_gradient((rows, columns))
    return _sweep(rows, columns, chunk, jnp.max, jnp.maximum)


def sum_pairs(
    each: Callable[..., Array], parameters: Any, rows: SideEmbeddings, columns: SideEmbeddings, chunk: int | None
) -> Array:
    """Return the sum of `each(parameters, products, own, other)` over all pairs of a row and a column.

    Args:
      each: Function that returns a value for each pair of a block `[n, c]`, 0 for pairs that do not count. `products`
        is an array, or a tuple with one array for each of the vectors. `own` is True where row and column belong
        together, `other` where they are compared as different clips.
      parameters: Other inputs of `each` that need a gradient.
      rows: Rows, as for `logsumexp_pairs`.
      columns: Columns, as for `logsumexp_pairs`.
      chunk: Columns of a block. None takes all at once.
    """

    @jax.checkpoint
    def block_sum(parameters: Any, rows: SideEmbeddings, block: SideEmbeddings) -> Array:
        products = jax.tree.map(_products, rows.vector, block.vector)
        return each(parameters, products, *_relation(rows, block)).sum()

    def step(total: Array, block: SideEmbeddings) -> tuple[Array, None]:
        return total + block_sum(parameters, rows, block), None

    # The checkpoint above keeps one number a block for the backward pass instead of its products.
    total, _ = jax.lax.scan(step, jnp.float32(0), _split(columns, chunk))
    return total


def _sweep(
    rows: SideEmbeddings, columns: SideEmbeddings, chunk: int | None, reduce: Callable, join: Callable
) -> tuple[Array, ...]:
    """Return own, others by row and others by column, each reduced over its pairs block by block."""

    def step(so_far: tuple[Array, Array], block: SideEmbeddings) -> tuple[tuple[Array, Array], Array]:
        products = _products(rows.vector, block.vector)
        own, other = (jnp.where(counted, products, NEG_INF) for counted in _relation(rows, block))
        # Sums by row grow from block to block; a column is whole within its block, so its sum is final at once.
        so_far = join(so_far[0], reduce(own, axis=1)), join(so_far[1], reduce(other, axis=1))
        return so_far, reduce(other, axis=0)

    none = jnp.full(len(rows.valid), NEG_INF)
    (own, by_row), by_column = jax.lax.scan(step, (none, none), _split(columns, chunk))
    return own, by_row, _joined(by_column, len(columns.valid))


def _log_sums_forward(
    rows: SideEmbeddings, columns: SideEmbeddings, chunk: int | None
) -> tuple[tuple[Array, ...], tuple]:
    sums = logsumexp_pairs(rows, columns, chunk)
    return sums, (rows, columns, sums)


def _log_sums_backward(
    chunk: int | None, kept: tuple, gradients: tuple[Array, ...]
) -> tuple[SideEmbeddings, SideEmbeddings]:
    """Return the gradients of both sides.

    The gradient by a product is the gradient by its sum, times its share of that sum, `exp(product - log sum)`.
    """
    rows, columns, (own_sum, row_sum, column_sum) = kept
    own_gradient, row_gradient, column_gradient = gradients

    def step(total: Array, given: tuple[SideEmbeddings, Array, Array]) -> tuple[Array, Array]:
        block, block_sum, block_gradient = given
        products = _products(rows.vector, block.vector)
        own, other = _relation(rows, block)

        # NEG_INF in place of an uncounted product: its share of any sum is exp(NEG_INF) = 0, and no NaN arises.
        def share(counted: Array, log_sum: Array) -> Array:
            return jnp.exp(jnp.where(counted, products - log_sum, NEG_INF))

        by_product = (
            share(own, own_sum[:, None]) * own_gradient[:, None]
            + share(other, row_sum[:, None]) * row_gradient[:, None]
            + share(other, block_sum[None, :]) * block_gradient[None, :]
        )
        # Each device keeps its own columns of every block, or all would hold the gradients of all columns.
        return total + _product(by_product, block.vector), by_rows(_product(by_product.T, rows.vector))

    blocks = _split((columns, column_sum, column_gradient), chunk)
    row_vectors, column_vectors = jax.lax.scan(step, jnp.zeros_like(rows.vector), blocks)
    column_vectors = _joined(column_vectors, len(columns.valid))
    return SideEmbeddings(row_vectors, None, None, None), SideEmbeddings(column_vectors, None, None, None)


logsumexp_pairs.defvjp(_log_sums_forward, _log_sums_backward)


def _relation(rows: SideEmbeddings, columns: SideEmbeddings) -> tuple[Bool[Array, "n m"], Bool[Array, "n m"]]:
    """Return a mask of the pairs that belong together, and a mask of the pairs that are compared as different clips."""
    # Places [0, 1, 2] and numbers [7, 7, 9] on both sides: the diagonal belongs together, 0 and 1 are views of one clip
    # and are not compared, and row 2 has columns 0 and 1 as negatives.
    both = rows.valid[:, None] & columns.valid[None, :]
    together = rows.place[:, None] == columns.place[None, :]
    same = rows.number[:, None] == columns.number[None, :]
    same = same if same.ndim == 2 else same.any(axis=-1)
    return both & together, both & ~together & ~same


def _products(rows: Float[Array, "n d"], columns: Float[Array, "m d"]) -> Float[Array, "n m"]:
    return _product(rows, columns.T)


def _product(a: Float[Array, "i j"], b: Float[Array, "j k"]) -> Float[Array, "i k"]:
    """Return the matrix product in true float32, because a scale of 100 would magnify the rounding of fast products."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST, preferred_element_type=jnp.float32)


def _split(columns: Any, chunk: int | None) -> Any:
    """Return blocks `[k, c, …]` of the leading axis, of at most `chunk` each, padded with invalid entries.

    A block takes every k-th column, so that each device of a mesh contributes its share of every block.
    """
    total = len(jax.tree.leaves(columns)[0])
    blocks = -(-total // (chunk or total))
    size = -(-total // blocks)

    def split(x: Array) -> Array:
        # Columns 0 to 4 with chunk 2: 3 blocks of size 2, padded to 6 columns and reshaped to [[0, 1, 2], [3, 4, -]],
        # so that the blocks are [0, 3], [1, 4] and [2, -]. Padding is 0, which is False in `valid`.
        x = jnp.pad(x, [(0, size * blocks - total)] + [(0, 0)] * (x.ndim - 1))
        return jnp.moveaxis(by_rows(x.reshape(size, blocks, *x.shape[1:])), 1, 0)

    return jax.tree.map(split, columns)


def _joined(blocks: Array, total: int) -> Array:
    """Return the leading axis of `_split`, joined again and without its padding."""
    return jnp.moveaxis(blocks, 0, 1).reshape(-1, *blocks.shape[2:])[:total]
