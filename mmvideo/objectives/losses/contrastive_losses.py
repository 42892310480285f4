"""Contrastive losses over a batch of embeddings: softmax, sigmoid, and MIL-NCE with several captions.

All compare every clip with every other of the global batch, in blocks of columns (see `blockwise`), and share these
arguments:

  a, b: Unit embeddings; row `i` of one belongs to row `i` of the other.
  valid: Mask of the rows that take part.
  scale: Factor of the cosines, one over the temperature.
  number: Index of the clip of each row. Two rows of one clip are never each other's negatives. None: all rows are
    different clips. With several numbers a row, such as those of its clip and its caption, rows that share any of
    them are not negatives of each other.
  positive: Mask of the valid rows that match their partner. The others are only negatives of other clips, such as a
    clip with shifted audio. None: all.
  chunk: Columns of a block. None takes the whole matrix at once.
  place: Group of each row, below the number of rows; rows of one group are partners. None: each row is its own only
    partner.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.objectives.losses.blockwise import SideEmbeddings, logsumexp_pairs, max_pairs, sum_pairs
from mmvideo.objectives.losses.masked_mean import mean_where

Direction = Literal["both", "forward", "backward"]


def softmax_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    scale: Float[Array, ""],
    number: Int[Array, "n *r"] | None = None,
    *,
    positive: Bool[Array, " n"] | None = None,
    direction: Direction = "both",
    chunk: int | None = None,
    place: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Return the cross entropy of finding each partner among all (InfoNCE; van den Oord et al. 2018, equation 4).

    `both` is the mean of both directions (Radford et al. 2021, figure 3); `forward` finds the partner of `a` among `b`,
    `backward` that of `b` among `a`. With several partners, the mean of their cross entropies counts (Khosla et al.
    2020, "Supervised Contrastive Learning", equation 2).

    Returns:
      The mean over the positive rows; 0 if there is none.
    """
    counted = _counted(valid, positive)
    rows = _rows(scale * a, valid, number, place)
    columns = _columns(b, valid, number, place=place)
    own, by_row, by_column = logsumexp_pairs(rows, columns, chunk)
    if place is None:
        forward, backward = (jnp.logaddexp(own, others) - own for others in (by_row, by_column))
    else:
        # With several partners, the own sum of a column runs over other pairs than that of its row: places [0, 0],
        # row 0 sums (a0, b0) and (a0, b1), column 0 sums (a0, b0) and (a1, b0).
        own_column, _, _ = logsumexp_pairs(columns, rows, chunk)
        forward = jnp.logaddexp(own, by_row) - scale * (a * _mean_of_place(b, counted, place)).sum(axis=1)
        backward = jnp.logaddexp(own_column, by_column) - scale * (b * _mean_of_place(a, counted, place)).sum(axis=1)
    each = {"forward": forward, "backward": backward, "both": (forward + backward) / 2}[direction]
    return mean_where(each, counted)


def mil_nce(
    a: Float[Array, "n d"],
    b: Float[Array, "n k d"],
    valid: Bool[Array, " n"],
    has: Bool[Array, "n k"],
    scale: Float[Array, ""],
    number: Int[Array, "n *r"] | None = None,
    *,
    positive: Bool[Array, " n"] | None = None,
    direction: Direction = "both",
    chunk: int | None = None,
) -> Float[Array, ""]:
    """Return the multiple-instance NCE: any of a clip's candidates may be the partner (Miech et al. 2020, equation 1).

    The negatives of a clip are the candidates of all other clips (`forward`), all other clips paired with its own
    candidates (`backward`), or all of these in one sum (`both`). With one candidate each, the loss is the NCE of VATT
    (Akbari et al. 2021, equation 3). The positives count once in the denominator, as in the equations (the released
    code of both papers counts them twice).

    Args:
      b: Candidates of each row.
      has: Mask of the candidates that exist; a row without any takes no part.

    Returns:
      The mean over the positive rows; 0 if there is none.
    """
    valid = valid & has.any(axis=1)
    columns = _columns(b, valid, number, has)
    own, by_row, by_column = logsumexp_pairs(_rows(scale * a, valid, number), columns, chunk)
    # Candidates are columns in the order of their rows: 2 rows of 3 candidates give 6 columns, reshaped to [2, 3].
    by_column = jax.nn.logsumexp(by_column.reshape(has.shape), axis=1)
    others = {"forward": by_row, "backward": by_column, "both": jnp.logaddexp(by_row, by_column)}[direction]
    return mean_where(jnp.logaddexp(own, others) - own, _counted(valid, positive))


def sigmoid_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    number: Int[Array, "n *r"] | None = None,
    *,
    positive: Bool[Array, " n"] | None = None,
    chunk: int | None = None,
    place: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Return the binary cross entropy of every pair of rows: partners or not (SigLIP, Zhai et al. 2023, section 3.2).

    Args:
      bias: Bias of the scaled cosines.

    Returns:
      The sum over all compared pairs, divided by the number of valid rows; 0 if there is none.
    """
    rows = _rows(scale * a, valid, number, place)
    columns = _columns(b, valid, number, place=place)
    # A row that is not positive is no partner of its own column, but stays a negative of all other columns.
    partners = _counted(valid, positive)[:, None]

    def each(bias: Array, products: Array, own: Array, other: Array) -> Array:
        loss = jax.nn.softplus(jnp.where(own, -1, 1) * (products + bias))
        return jnp.where((own & partners) | other, loss, 0)

    return sum_pairs(each, bias, rows, columns, chunk) / jnp.maximum(valid.sum(), 1)


def retrieval_accuracy(
    a: Float[Array, "n d"],
    b: Float[Array, "n *k d"],
    valid: Bool[Array, " n"],
    number: Int[Array, "n *r"] | None = None,
    *,
    has: Bool[Array, "n k"] | None = None,
    positive: Bool[Array, " n"] | None = None,
    chunk: int | None = None,
    place: Int[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Return the share of the positive rows whose partner is the nearest of the batch, as the mean of both directions.

    Of several candidates the nearest is the partner. A tie is a miss, so equal embeddings score 0. The scale of `a`
    does not matter.
    """
    rows = _rows(a, valid, number, place)
    columns = _columns(b, valid, number, has, place)
    own, by_row, by_column = max_pairs(rows, columns, chunk)
    if place is not None:
        own_column = max_pairs(columns, rows, chunk)[0].reshape(len(valid), -1).max(axis=1)
    else:
        own_column = own
    # A clip's candidates are several columns: the nearest stranger of any of them counts.
    by_column = by_column.reshape(len(valid), -1).max(axis=1)
    hits = (own > by_row).astype(jnp.float32) + (own_column > by_column).astype(jnp.float32)
    return mean_where(hits / 2, _counted(valid, positive))


def chance_loss(
    valid: Bool[Array, " n"],
    form: str,
    *,
    has: Bool[Array, "n k"] | None = None,
    positive: Bool[Array, " n"] | None = None,
    direction: Direction = "both",
    same: Int[Array, " n"] | None = None,
    partners: bool = False,
) -> Float[Array, ""]:
    """Return the lowest loss of uninformative embeddings, for valid rows that are all different clips.

    For softmax and MIL-NCE it is the logarithm of the number of pairs that a positive competes with. For the sigmoid it
    is the loss of predicting the share of partners for every pair, which the bias alone can learn.

    Args:
      same: Number of other valid rows with equal captions for each row, which are not its negatives. None: 0.
      partners: True if these rows are partners, False if they are left out.
    """
    counted = _counted(valid, positive)
    clips = valid.sum().astype(jnp.float32)
    if form == "sigmoid":
        right = counted.sum().astype(jnp.float32)
        strangers = clips * (clips - 1)
        if same is not None:
            right += jnp.where(counted & partners, same, 0).sum()
            strangers -= jnp.where(valid, same, 0).sum()
        pairs = jnp.maximum(right + strangers, 1)
        share = right / pairs
        # 4 clips, all positive: 16 pairs, share 1/4, so -(4 log(1/4) + 12 log(3/4)) / 4 = 2.25.
        surprise = jax.scipy.special.xlogy(right, share) + jax.scipy.special.xlog1py(pairs - right, -share)
        return -surprise / jnp.maximum(clips, 1)
    candidates = valid[:, None] if has is None else has & valid[:, None]
    each = jnp.maximum(candidates.sum(axis=1), 1).astype(jnp.float32)
    total = candidates.sum().astype(jnp.float32)
    # 3 clips of 2 captions: 6 candidates forward, 2 * 3 = 6 pairs backward, 6 + 6 - 2 = 10 for both (own pairs once).
    forward = total
    backward = each * clips
    both = forward + backward - each if form == "mil_nce" else forward
    pairs = {"forward": forward, "backward": backward, "both": both}[direction]
    # Left out rows are no competitors: 8 clips, of which 2 others have the same caption, leave log(8 - 2).
    if same is not None and not partners:
        pairs -= same
    return mean_where(jnp.log(jnp.maximum(pairs / each, 1)), counted)


def _counted(valid: Bool[Array, " n"], positive: Bool[Array, " n"] | None) -> Bool[Array, " n"]:
    return valid if positive is None else valid & positive


def _rows(
    a: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    number: Int[Array, "n *r"] | None,
    place: Int[Array, " n"] | None = None,
) -> SideEmbeddings:
    own = jnp.arange(len(valid)) if place is None else place
    return SideEmbeddings(a, valid, own, own if number is None else number)


def _columns(
    b: Float[Array, "n *k d"],
    valid: Bool[Array, " n"],
    number: Int[Array, "n *r"] | None,
    has: Bool[Array, "n k"] | None = None,
    place: Int[Array, " n"] | None = None,
) -> SideEmbeddings:
    """Return the candidates of all rows, one row after another, as columns."""
    if has is None:
        return _rows(b, valid, number, place)
    # 2 rows of 3 candidates: row is [0, 0, 0, 1, 1, 1].
    row = jnp.repeat(jnp.arange(len(valid)), has.shape[1])
    valid = (has & valid[:, None]).reshape(-1)
    own = row if place is None else place[row]
    return SideEmbeddings(b.reshape(-1, b.shape[-1]), valid, own, own if number is None else number[row])


def _mean_of_place(
    vectors: Float[Array, "n d"], counted: Bool[Array, " n"], place: Int[Array, " n"]
) -> Float[Array, "n d"]:
    """Return, for each row, the mean over the counted rows of its place."""
    # Vectors [1, 3, 5], place [0, 0, 2], all counted: sums [4, 0, 5], counts [2, 0, 1], means by row [2, 2, 5].
    sums = jax.ops.segment_sum(jnp.where(counted[:, None], vectors, 0), place, len(place))
    count = jax.ops.segment_sum(counted.astype(vectors.dtype), place, len(place))
    return (sums / jnp.maximum(count, 1)[:, None])[place]
