"""Search for a text: the choice of the next tokens, and of the best text that has ended.

Live texts all have the same number of generated tokens. At each step some candidates, each a live text with one more
token, are chosen by probability or drawn. A candidate that ends competes for the best text of its clip; the others
become live texts.

Letters: `W` live texts of a clip, `G` largest number of generated tokens, `c` candidates of a clip.
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
"""Log probability of candidates that must not be chosen."""


class Search(NamedTuple):
    """State of the search.

    Attributes:
      text_tokens: Tokens of the live texts; end marks after the generated ones.
      score: Log probability of each live text.
      best: Tokens of the best text that has ended, with end marks after it.
      best_score: Log probability of that text.
      best_rank: Score by which the best text is chosen; `NEG_INF` while none has ended.
      done: True if the best text of a clip can't change any more.
    """

    text_tokens: Int[Array, "B W E G"]
    score: Float[Array, "B W E"]
    best: Int[Array, "B E G"]
    best_score: Float[Array, "B E"]
    best_rank: Float[Array, "B E"]
    done: Bool[Array, "B E"]


class Candidates(NamedTuple):
    """Live texts with one more token.

    Attributes:
      score: Log probability of the text with its new token.
      text: Index of the live text.
      token_id: The new token.
    """

    score: Float[Array, "B E c"]
    text: Int[Array, "B E c"]
    token_id: Int[Array, "B E c"]


class SearchConfig(NamedTuple):
    """Constants of the whole search.

    Attributes:
      decoding: Settings of decoding.
      text: Marks and vocabulary.
      remaining: Largest number of tokens that each clip's text may still get.
      keys: A random key for each clip.
    """

    decoding: Decoding
    text: TextSpec
    remaining: Int[Array, "B E"]
    keys: Key[Array, "B E"]


def init_search(rules: SearchConfig, wanted: Bool[Array, "B E"], text_tokens: int) -> Search:
    """Return a search with no generated tokens and space for `text_tokens` of them (`G`)."""
    batch, clips, texts = *wanted.shape, rules.decoding.texts
    # All live texts start equal, and would yield the same candidates. Only text 0 takes part in the first step: 3 beams
    # start with scores [0, -inf, -inf].
    first = jnp.where(jnp.arange(texts) == 0, 0.0, NEG_INF)[None, :, None]
    none = jnp.full((batch, clips), NEG_INF)
    return Search(
        jnp.full((batch, texts, clips, text_tokens), rules.text.end_id, jnp.int32),
        jnp.broadcast_to(first, (batch, texts, clips)),
        jnp.full((batch, clips, text_tokens), rules.text.end_id, jnp.int32),
        none,
        none,
        ~wanted | (rules.remaining < 1),
    )


def extend_search(
    search: Search, logits: Float[Array, "B #W E V"], number: Int[Array, ""], rules: SearchConfig
) -> tuple[Search, Int[Array, "B W E"]]:
    """Add one token to the live texts.

    Args:
      search: Search with `number` generated tokens.
      logits: Logits of the next token of each live text, or of one text where all are still equal.
      number: Index of the new token.
      rules: Constants of the search.

    Returns:
      The search, and the index of the previous live text that each live text continues.
    """
    chances = _allowed(jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1), number, rules)
    drawn = rules.decoding.method == "sample"
    candidates = _drawn(search, chances, number, rules) if drawn else _likeliest(search, chances, rules)
    return _settle(search, candidates, number, rules)


def sampled_logits(chances: Float[Array, "*batch V"], decoding: Decoding) -> Float[Array, "*batch V"]:
    """Return the logits to draw from: divided by temperature, then limited by `top_k` and by the nucleus `top_p`.

    Of equally likely tokens, those with the lower index come first.
    """
    logits = chances / decoding.temperature
    # The second argsort inverts the first: logits [1, 3, 2] sort as [1, 2, 0], so the ranks are [2, 0, 1].
    place = jnp.argsort(jnp.argsort(-logits, axis=-1, stable=True), axis=-1)
    if decoding.top_k is not None:
        logits = jnp.where(place < decoding.top_k, logits, NEG_INF)
    if decoding.top_p is not None:
        shares = -jnp.sort(-jax.nn.softmax(logits, axis=-1), axis=-1)
        # Probabilities [0.5, 0.3, 0.2] have [0, 0.5, 0.8] before them: top_p 0.6 keeps the first two, which reach 0.6.
        before = jnp.cumsum(shares, axis=-1) - shares
        inside = (before < decoding.top_p).at[..., 0].set(True)
        logits = jnp.where(jnp.take_along_axis(inside, place, axis=-1), logits, NEG_INF)
    return logits


def penalty(length: Int[Array, "*batch"], alpha: float) -> Float[Array, "*batch"]:
    """Return `((5 + length) / 6)^alpha`, by which a score is divided (Wu et al. 2016, eq. 14)."""
    return ((5.0 + length) / 6.0) ** alpha


def _allowed(chances: Float[Array, "*batch V"], number: Array, rules: SearchConfig) -> Float[Array, "*batch V"]:
    """Return the log probabilities without tokens that are no part of a text, and without an early end mark."""
    text = rules.text
    token_id = jnp.arange(chances.shape[-1])
    marks = [mark for mark in (text.mask_id, text.begin_id, text.pad_id) if mark not in (PADDING, text.end_id)]
    never = jnp.isin(token_id, jnp.array(marks, jnp.int32))
    # shortest 2: the tokens with number 0 and 1 can't be the end mark.
    early = (token_id == text.end_id) & (number < rules.decoding.shortest)
    return jnp.where(never | early, NEG_INF, chances)


def _likeliest(search: Search, chances: Float[Array, "B #W E V"], rules: SearchConfig) -> Candidates:
    """Return the likeliest candidate of a greedy search, else `2 W` candidates: enough even if `W` of them end."""
    (batch, texts, clips), vocabulary = search.score.shape, chances.shape[-1]
    # [B, W, E, V] becomes [B, E, W * V]: one list of candidates a clip, over all its live texts.
    total = jnp.moveaxis(search.score[..., None] + chances, 1, 2).reshape(batch, clips, texts * vocabulary)
    # A live text has only one candidate that ends, so at least W of the best 2 W candidates go on.
    count = 1 if rules.decoding.method == "greedy" else 2 * texts
    score, choice = row_by_row(partial(jax.lax.top_k, k=count), total)
    # 2 texts and a vocabulary of 10: choice 13 is token 3 of text 1.
    return Candidates(score, choice // vocabulary, choice % vocabulary)


def _drawn(search: Search, chances: Float[Array, "B 1 E V"], number: Array, rules: SearchConfig) -> Candidates:
    """Return one candidate a clip, drawn with the clip's own key."""
    chances = chances[:, 0]
    keys = jax.vmap(jax.vmap(lambda key: jax.random.fold_in(key, number)))(rules.keys)
    token_id = jax.vmap(jax.vmap(jax.random.categorical))(keys, sampled_logits(chances, rules.decoding))[..., None]
    score = search.score[:, 0, :, None] + jnp.take_along_axis(chances, token_id, axis=-1)
    return Candidates(score, jnp.zeros_like(token_id), token_id.astype(jnp.int32))


def _settle(
    search: Search, candidates: Candidates, number: Array, rules: SearchConfig
) -> tuple[Search, Int[Array, "B W E"]]:
    """Let candidates that end compete for the best text and keep the likeliest others; cut full texts."""
    end = rules.text.end_id
    alpha = rules.decoding.length_penalty
    texts = search.score.shape[1]
    ended = candidates.token_id == end
    ending = jnp.where(ended, candidates.score, NEG_INF)
    search = _compete(
        search, ending.max(axis=-1), _text(search, candidates, ending.argmax(axis=-1), number), number, alpha
    )
    score, kept = row_by_row(partial(jax.lax.top_k, k=texts), jnp.where(ended, NEG_INF, candidates.score))
    parent, token_id = (jnp.take_along_axis(values, kept, axis=-1) for values in (candidates.text, candidates.token_id))
    parent, token_id, score = (jnp.moveaxis(values, -1, 1) for values in (parent, token_id, score))
    # 2 beams with parents [1, 1]: both continue the second text, and the first is dropped.
    text_tokens = jnp.take_along_axis(search.text_tokens, parent[..., None], axis=1)
    text_tokens = jax.lax.dynamic_update_index_in_dim(text_tokens, token_id.astype(jnp.int32), number, axis=3)
    search = search._replace(text_tokens=text_tokens, score=score)
    # A text of its full length competes as it is, without an end mark.
    full = number + 1 >= rules.remaining
    search = _compete(search, jnp.where(full, score[:, 0], NEG_INF), text_tokens[:, 0], number, alpha)
    # The log probability of a live text only falls. It is negative, and the largest penalty brings it nearest to 0, so
    # the best rank it can still reach is its present score over the penalty of the full length.
    hope = score[:, 0] / penalty(jnp.maximum(rules.remaining, 1), alpha)
    return search._replace(done=search.done | full | (hope <= search.best_rank)), parent


def _text(search: Search, candidates: Candidates, which: Int[Array, "B E"], number: Array) -> Int[Array, "B E G"]:
    """Return the tokens of one candidate of each clip."""
    text, token_id = (
        jnp.take_along_axis(values, which[..., None], axis=-1)[..., 0]
        for values in (candidates.text, candidates.token_id)
    )
    text_tokens = jnp.take_along_axis(search.text_tokens, text[:, None, :, None], axis=1)[:, 0]
    return jax.lax.dynamic_update_index_in_dim(text_tokens, token_id.astype(jnp.int32), number, axis=2)


def _compete(
    search: Search, score: Float[Array, "B E"], text_tokens: Int[Array, "B E G"], number: Array, alpha: float
) -> Search:
    """Return the search with these ended texts as the best ones where they rank higher."""
    rank = score / penalty(number + 1, alpha)
    # Strictly better, so that of equal texts the one that ended first stays.
    better = (rank > search.best_rank) & ~search.done
    return search._replace(
        best=jnp.where(better[..., None], text_tokens, search.best),
        best_score=jnp.where(better, score, search.best_score),
        best_rank=jnp.where(better, rank, search.best_rank),
    )
