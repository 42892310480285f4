"""The contrastive losses over a batch of embeddings: softmax, sigmoid, and MIL-NCE with several captions.

All compare every clip with every other of the global batch, in blocks of columns (see `blocks`), and share
these arguments:

  a, b: unit embeddings; row `i` of one belongs to row `i` of the other.
  valid: which rows take part at all.
  scale: factor of the cosines, one over the temperature.
  number: which clip a row is; two rows of one clip are never each other's negatives. None: all apart. Several
    numbers a row, such as of its clip and of its caption: neither are two rows that share any.
  positive: which of the valid rows are partners indeed; the others are negatives to strangers and nothing
    else, such as a clip whose sound is shifted against its picture. None: all.
  chunk: columns of a block; None takes the whole matrix at once.
  place: rows of one place are partners, below the number of rows; None: each row is its own only partner.
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
    """Cross entropy of finding each one's partner among all (InfoNCE; van den Oord et al. 2018, equation 4).

    `both` is the mean of both directions (Radford et al. 2021, figure 3); `forward` looks for the
    partner of `a` among `b`, `backward` for that of `b` among `a`. Of several partners the mean of their cross
    entropies counts (Khosla et al. 2020, "Supervised Contrastive Learning", equation 2).

    Returns:
      The mean over the positive rows; 0 if there is none.
    """
    counted = _counted(valid, positive)
    rows, columns = _rows(scale * a, valid, number, place), _columns(b, valid, number, place=place)
    own, by_row, by_column = logsumexp_pairs(rows, columns, chunk)
    if place is None:
        forward, backward = (jnp.logaddexp(own, others) - own for others in (by_row, by_column))
    else:
        # The columns' own sums are of other rows than the rows' own.
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
    """Multiple-instance NCE: any of a clip's candidates may be the partner (Miech et al. 2020, equation 1).

    The negatives of a clip are, `forward`, the candidates of all others; `backward`, all others beside its
    candidates; `both`, all of these in one sum. With one candidate each that is the NCE of VATT
    (Akbari et al. 2021, equation 3). The positives count once in the denominator, as in the equations
    (the released code of both papers counts them twice).

    Args:
      b: the candidates of each row.
      has: which candidates there are; a row without any takes no part.

    Returns:
      The mean over the positive rows; 0 if there is none.
    """
    valid = valid & has.any(axis=1)
    columns = _columns(b, valid, number, has)
    own, by_row, by_column = logsumexp_pairs(_rows(scale * a, valid, number), columns, chunk)
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
    """Binary cross entropy of every pair of rows: partners or not (SigLIP, Zhai et al. 2023, section 3.2).

    Args:
      bias: added to the scaled cosines.

    Returns:
      The sum over all compared pairs by the number of valid rows; 0 if there is none.
    """
    rows, columns = _rows(scale * a, valid, number, place), _columns(b, valid, number, place=place)
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
    """Share of the positive rows whose partner is nearer than all others of the batch, the mean of both directions.

    Of several candidates the nearest is the partner. A tie is no hit, so embeddings that are all the
    same score 0. Any scale of `a` will do.
    """
    rows, columns = _rows(a, valid, number, place), _columns(b, valid, number, has, place)
    own, by_row, by_column = max_pairs(rows, columns, chunk)
    if place is not None:
        own_column = max_pairs(columns, rows, chunk)[0].reshape(len(valid), -1).max(axis=1)
    else:
        own_column = own
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
    """The least loss of embeddings that tell nothing, among the valid rows (taken as different clips).

    Args:
      same: for each row how many other valid rows say the same, and so are no strangers to it; None: 0.
      partners: whether these are partners, rather than left out.

    For softmax and MIL-NCE that is the logarithm of how many pairs a positive one is told from. For the
    sigmoid it is that of answering each pair with the share of partners among pairs, which the bias
    alone can learn.
    """
    counted, clips = _counted(valid, positive), valid.sum().astype(jnp.float32)
    if form == "sigmoid":
        right, strangers = counted.sum().astype(jnp.float32), clips * (clips - 1)
        if same is not None:
            right += jnp.where(counted & partners, same, 0).sum()
            strangers -= jnp.where(valid, same, 0).sum()
        pairs = jnp.maximum(right + strangers, 1)
        share = right / pairs
        surprise = jax.scipy.special.xlogy(right, share) + jax.scipy.special.xlog1py(pairs - right, -share)
        return -surprise / jnp.maximum(clips, 1)
    candidates = valid[:, None] if has is None else has & valid[:, None]
    each, total = jnp.maximum(candidates.sum(axis=1), 1).astype(jnp.float32), candidates.sum().astype(jnp.float32)
    forward, backward = total, each * clips
    both = forward + backward - each if form == "mil_nce" else forward
    pairs = {"forward": forward, "backward": backward, "both": both}[direction]
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
    """Candidates one behind the other."""
    if has is None:
        return _rows(b, valid, number, place)
    row = jnp.repeat(jnp.arange(len(valid)), has.shape[1])
    valid = (has & valid[:, None]).reshape(-1)
    own = row if place is None else place[row]
    return SideEmbeddings(b.reshape(-1, b.shape[-1]), valid, own, own if number is None else number[row])


def _mean_of_place(
    vectors: Float[Array, "n d"], counted: Bool[Array, " n"], place: Int[Array, " n"]
) -> Float[Array, "n d"]:
    """For each row the mean over the rows of its place that count."""
    sums = jax.ops.segment_sum(jnp.where(counted[:, None], vectors, 0), place, len(place))
    count = jax.ops.segment_sum(counted.astype(vectors.dtype), place, len(place))
    return (sums / jnp.maximum(count, 1)[:, None])[place]
