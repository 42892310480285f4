"""The contrastive losses over a batch of embeddings: softmax, sigmoid, and MIL-NCE with several captions.

All compare every clip with every other of the global batch, in blocks of columns (see `blocks`), and share
these arguments:

  a, b: unit embeddings; row `i` of one belongs to row `i` of the other.
  valid: which rows take part at all.
  scale: factor of the cosines, one over the temperature.
  number: which clip a row is; two rows of one clip are never each other's negatives. None: all apart.
  positive: which of the valid rows are partners indeed; the others are negatives to strangers and nothing
    else, such as a clip whose sound is shifted against its picture. None: all.
  chunk: columns of a block; None takes the whole matrix at once.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from mmvideo.objectives.blocks import Side, log_sums, nearest, sum_pairs
from mmvideo.objectives.counting import mean_where

Direction = Literal["both", "forward", "backward"]


def softmax_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    scale: Float[Array, ""],
    number: Int[Array, " n"] | None = None,
    *,
    positive: Bool[Array, " n"] | None = None,
    direction: Direction = "both",
    chunk: int | None = None,
) -> Float[Array, ""]:
    """Cross entropy of finding each one's partner among all (InfoNCE; van den Oord et al. 2018, equation 4).

    `both` is the mean of both directions (Radford et al. 2021, figure 3); `forward` looks for the
    partner of `a` among `b`, `backward` for that of `b` among `a`.

    Returns:
      The mean over the positive rows; 0 if there is none.
    """
    own, by_row, by_column = log_sums(_rows(scale * a, valid, number), _columns(b, valid, number), chunk)
    forward, backward = (jnp.logaddexp(own, others) - own for others in (by_row, by_column))
    each = {"forward": forward, "backward": backward, "both": (forward + backward) / 2}[direction]
    return mean_where(each, _counted(valid, positive))


def mil_nce(
    a: Float[Array, "n d"],
    b: Float[Array, "n k d"],
    valid: Bool[Array, " n"],
    has: Bool[Array, "n k"],
    scale: Float[Array, ""],
    number: Int[Array, " n"] | None = None,
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
    own, by_row, by_column = log_sums(_rows(scale * a, valid, number), columns, chunk)
    by_column = jax.nn.logsumexp(by_column.reshape(has.shape), axis=1)
    others = {"forward": by_row, "backward": by_column, "both": jnp.logaddexp(by_row, by_column)}[direction]
    return mean_where(jnp.logaddexp(own, others) - own, _counted(valid, positive))


def sigmoid_contrastive(
    a: Float[Array, "n d"],
    b: Float[Array, "n d"],
    valid: Bool[Array, " n"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    number: Int[Array, " n"] | None = None,
    *,
    positive: Bool[Array, " n"] | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """Binary cross entropy of every pair of rows: partners or not (SigLIP, Zhai et al. 2023, section 3.2).

    Args:
      bias: added to the scaled cosines.

    Returns:
      The sum over all compared pairs by the number of valid rows; 0 if there is none.
    """
    rows, columns = _rows(scale * a, valid, number), _columns(b, valid, number)
    partners = _counted(valid, positive)[:, None]

    def each(bias: Array, products: Array, own: Array, other: Array) -> Array:
        loss = jax.nn.softplus(jnp.where(own, -1, 1) * (products + bias))
        return jnp.where((own & partners) | other, loss, 0)

    return sum_pairs(each, bias, rows, columns, chunk) / jnp.maximum(valid.sum(), 1)


def retrieval_accuracy(
    a: Float[Array, "n d"],
    b: Float[Array, "n *k d"],
    valid: Bool[Array, " n"],
    number: Int[Array, " n"] | None = None,
    *,
    has: Bool[Array, "n k"] | None = None,
    positive: Bool[Array, " n"] | None = None,
    chunk: int | None = None,
) -> Float[Array, ""]:
    """Share of the positive rows whose partner is nearer than all others of the batch, the mean of both directions.

    Of several candidates the nearest is the partner. A tie is no hit, so embeddings that are all the
    same score 0. Any scale of `a` will do.
    """
    own, by_row, by_column = nearest(_rows(a, valid, number), _columns(b, valid, number, has), chunk)
    by_column = by_column.reshape(len(valid), -1).max(axis=1)
    hits = (own > by_row).astype(jnp.float32) + (own > by_column).astype(jnp.float32)
    return mean_where(hits / 2, _counted(valid, positive))


def chance_loss(
    valid: Bool[Array, " n"],
    form: str,
    *,
    has: Bool[Array, "n k"] | None = None,
    positive: Bool[Array, " n"] | None = None,
    direction: Direction = "both",
) -> Float[Array, ""]:
    """The least loss of embeddings that tell nothing, among the valid rows (taken as different clips).

    For softmax and MIL-NCE that is the logarithm of how many pairs a positive one is told from. For the
    sigmoid it is that of answering each pair with the share of partners among pairs, which the bias
    alone can learn.
    """
    counted, clips = _counted(valid, positive), valid.sum().astype(jnp.float32)
    if form == "sigmoid":
        partners = counted.sum().astype(jnp.float32)
        pairs = jnp.maximum(partners + clips * (clips - 1), 1)
        share = partners / pairs
        surprise = jax.scipy.special.xlogy(partners, share) + jax.scipy.special.xlog1py(pairs - partners, -share)
        return -surprise / jnp.maximum(clips, 1)
    candidates = valid[:, None] if has is None else has & valid[:, None]
    each, total = jnp.maximum(candidates.sum(axis=1), 1).astype(jnp.float32), candidates.sum().astype(jnp.float32)
    forward, backward = total, each * clips
    both = forward + backward - each if form == "mil_nce" else forward
    pairs = {"forward": forward, "backward": backward, "both": both}[direction]
    return mean_where(jnp.log(jnp.maximum(pairs / each, 1)), counted)


def _counted(valid: Bool[Array, " n"], positive: Bool[Array, " n"] | None) -> Bool[Array, " n"]:
    return valid if positive is None else valid & positive


def _rows(a: Float[Array, "n d"], valid: Bool[Array, " n"], number: Int[Array, " n"] | None) -> Side:
    place = jnp.arange(len(valid))
    return Side(a, valid, place, place if number is None else number)


def _columns(
    b: Float[Array, "n *k d"],
    valid: Bool[Array, " n"],
    number: Int[Array, " n"] | None,
    has: Bool[Array, "n k"] | None = None,
) -> Side:
    """Candidates one behind the other."""
    if has is None:
        return _rows(b, valid, number)
    place = jnp.repeat(jnp.arange(len(valid)), has.shape[1])
    valid = (has & valid[:, None]).reshape(-1)
    return Side(b.reshape(-1, b.shape[-1]), valid, place, place if number is None else number[place])
