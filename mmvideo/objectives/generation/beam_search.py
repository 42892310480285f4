"""The search for a text: which pieces go on, and which text was the best that ended.

Live texts all have the same number of written pieces. At each step some candidates, a live text with one more
piece, are chosen by probability or drawn; one that ends competes for the best of its clip, the others live on.

Letters: `W` live texts of a clip, `G` the most pieces that are written, `c` candidates of a clip.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from mmvideo.model.sharding import row_by_row
from mmvideo.objectives.generation.config import Decoding
from mmvideo.stream import PADDING, TextSpec

NEG_INF = -jnp.inf
"""Logarithm of the probability of what is not to be chosen."""


class Search(NamedTuple):
    """Where the search stands.

    Attributes:
      text_tokens: of the live texts; end marks behind what is written.
      score: logarithm of the probability of each live text.
      best: the pieces of the best text that has ended, end marks behind them.
      best_score: logarithm of its probability.
      best_rank: what the best is chosen by; `NEG_INF` while none has ended.
      done: whether the best text of a clip can't change any more.
    """

    text_tokens: Int[Array, "B W E G"]
    score: Float[Array, "B W E"]
    best: Int[Array, "B E G"]
    best_score: Float[Array, "B E"]
    best_rank: Float[Array, "B E"]
    done: Bool[Array, "B E"]


class Candidates(NamedTuple):
    """Live texts with one more piece: the probability's logarithm, which text, and the piece."""

    score: Float[Array, "B E c"]
    text: Int[Array, "B E c"]
    piece: Int[Array, "B E c"]


class SearchConfig(NamedTuple):
    """What holds for the whole search.

    Attributes:
      decoding: the settings.
      text: marks and vocabulary.
      room: the most pieces that each clip's text may still get.
      keys: a random key for each clip.
    """

    decoding: Decoding
    text: TextSpec
    room: Int[Array, "B E"]
    keys: Key[Array, "B E"]


def init_search(rules: SearchConfig, wanted: Bool[Array, "B E"], text_tokens: int) -> Search:
    """Nothing written, in room for `G` pieces."""
    batch, clips, texts = *wanted.shape, rules.decoding.texts
    # All live texts begin alike: but for one they are shut out of the first step.
    first = jnp.where(jnp.arange(texts) == 0, 0.0, NEG_INF)[None, :, None]
    none = jnp.full((batch, clips), NEG_INF)
    return Search(
        jnp.full((batch, texts, clips, text_tokens), rules.text.end_id, jnp.int32),
        jnp.broadcast_to(first, (batch, texts, clips)),
        jnp.full((batch, clips, text_tokens), rules.text.end_id, jnp.int32),
        none,
        none,
        ~wanted | (rules.room < 1),
    )


def extend_search(
    search: Search, logits: Float[Array, "B #W E V"], number: Int[Array, ""], rules: SearchConfig
) -> tuple[Search, Int[Array, "B W E"]]:
    """One more piece.

    Args:
      search: with `number` pieces written.
      logits: of each live text's next piece; of one text where all are still alike.
      number: of the piece.
      rules: of the search.

    Returns:
      The search, and which live text of before each one continues.
    """
    chances = _allowed(jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1), number, rules)
    drawn = rules.decoding.method == "sample"
    candidates = _drawn(search, chances, number, rules) if drawn else _likeliest(search, chances, rules)
    return _settle(search, candidates, number, rules)


def sampled_logits(chances: Float[Array, "*batch V"], decoding: Decoding) -> Float[Array, "*batch V"]:
    """Logits of what is drawn from: by temperature, of the `top_k` likeliest pieces, of those the nucleus `top_p`.

    Of equally likely pieces those of lower number come first.
    """
    logits = chances / decoding.temperature
    place = jnp.argsort(jnp.argsort(-logits, axis=-1, stable=True), axis=-1)
    if decoding.top_k is not None:
        logits = jnp.where(place < decoding.top_k, logits, NEG_INF)
    if decoding.top_p is not None:
        shares = -jnp.sort(-jax.nn.softmax(logits, axis=-1), axis=-1)
        before = jnp.cumsum(shares, axis=-1) - shares
        inside = (before < decoding.top_p).at[..., 0].set(True)
        logits = jnp.where(jnp.take_along_axis(inside, place, axis=-1), logits, NEG_INF)
    return logits


def penalty(length: Int[Array, "*batch"], alpha: float) -> Float[Array, "*batch"]:
    """`((5 + length) / 6)^alpha`, by which a score is divided (Wu et al. 2016, eq. 14)."""
    return ((5.0 + length) / 6.0) ** alpha


def _allowed(chances: Float[Array, "*batch V"], number: Array, rules: SearchConfig) -> Float[Array, "*batch V"]:
    """Without the pieces that are no part of a text, and without an end that comes too early."""
    text, piece = rules.text, jnp.arange(chances.shape[-1])
    marks = [mark for mark in (text.mask_id, text.begin_id, text.pad_id) if mark not in (PADDING, text.end_id)]
    never = jnp.isin(piece, jnp.array(marks, jnp.int32))
    early = (piece == text.end_id) & (number < rules.decoding.shortest)
    return jnp.where(never | early, NEG_INF, chances)


def _likeliest(search: Search, chances: Float[Array, "B #W E V"], rules: SearchConfig) -> Candidates:
    """The likeliest alone if the search is greedy, else twice as many as live on: enough do even if all could end."""
    (batch, texts, clips), vocabulary = search.score.shape, chances.shape[-1]
    total = jnp.moveaxis(search.score[..., None] + chances, 1, 2).reshape(batch, clips, texts * vocabulary)
    count = 1 if rules.decoding.method == "greedy" else 2 * texts
    score, choice = row_by_row(partial(jax.lax.top_k, k=count), total)
    return Candidates(score, choice // vocabulary, choice % vocabulary)


def _drawn(search: Search, chances: Float[Array, "B 1 E V"], number: Array, rules: SearchConfig) -> Candidates:
    """One each, drawn by the clip's own key."""
    chances = chances[:, 0]
    keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, number)))(rules.keys)
    piece = jax.vmap(jax.vmap(jax.random.categorical))(keys, sampled_logits(chances, rules.decoding))[..., None]
    score = search.score[:, 0, :, None] + jnp.take_along_axis(chances, piece, axis=-1)
    return Candidates(score, jnp.zeros_like(piece), piece.astype(jnp.int32))


def _settle(
    search: Search, candidates: Candidates, number: Array, rules: SearchConfig
) -> tuple[Search, Int[Array, "B W E"]]:
    """Those that end compete for the best, the likeliest others live on; at the end of its room a text is cut."""
    end, alpha, texts = rules.text.end_id, rules.decoding.length_penalty, search.score.shape[1]
    ended = candidates.piece == end
    ending = jnp.where(ended, candidates.score, NEG_INF)
    search = _compete(
        search, ending.max(axis=-1), _text(search, candidates, ending.argmax(axis=-1), number), number, alpha
    )
    score, kept = row_by_row(partial(jax.lax.top_k, k=texts), jnp.where(ended, NEG_INF, candidates.score))
    parent, piece = (jnp.take_along_axis(values, kept, axis=-1) for values in (candidates.text, candidates.piece))
    parent, piece, score = (jnp.moveaxis(values, -1, 1) for values in (parent, piece, score))
    text_tokens = jnp.take_along_axis(search.text_tokens, parent[..., None], axis=1)
    text_tokens = jax.lax.dynamic_update_index_in_dim(text_tokens, piece.astype(jnp.int32), number, axis=3)
    search = search._replace(text_tokens=text_tokens, score=score)
    full = number + 1 >= rules.room
    search = _compete(search, jnp.where(full, score[:, 0], NEG_INF), text_tokens[:, 0], number, alpha)
    # A live text only gets less likely: at best it ends in the last of its room, where the penalty is largest.
    hope = score[:, 0] / penalty(jnp.maximum(rules.room, 1), alpha)
    return search._replace(done=search.done | full | (hope <= search.best_rank)), parent


def _text(search: Search, candidates: Candidates, which: Int[Array, "B E"], number: Array) -> Int[Array, "B E G"]:
    """The pieces of one candidate of each clip."""
    text, piece = (
        jnp.take_along_axis(values, which[..., None], axis=-1)[..., 0] for values in (candidates.text, candidates.piece)
    )
    text_tokens = jnp.take_along_axis(search.text_tokens, text[:, None, :, None], axis=1)[:, 0]
    return jax.lax.dynamic_update_index_in_dim(text_tokens, piece.astype(jnp.int32), number, axis=2)


def _compete(
    search: Search, score: Float[Array, "B E"], text_tokens: Int[Array, "B E G"], number: Array, alpha: float
) -> Search:
    """The search with these ended texts instead of the best ones where they rank higher."""
    rank = score / penalty(number + 1, alpha)
    better = (rank > search.best_rank) & ~search.done
    return search._replace(
        best=jnp.where(better[..., None], text_tokens, search.best),
        best_score=jnp.where(better, score, search.best_score),
        best_rank=jnp.where(better, rank, search.best_rank),
    )
