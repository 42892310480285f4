"""Writes texts piece by piece: the media are run once, and each piece costs one token of each clip.

Letters: as in `model.cache` and `search`; `P` pieces that are given, begin mark and prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from mmvideo.model.transformer.kv_cache import KVCache, PrefixCache, decode_step, empty_cache, prefill
from mmvideo.objectives.generation.beam_search import NEG_INF, Search, SearchConfig, extend_search, init_search
from mmvideo.objectives.generation.config import Decoding
from mmvideo.stream import PADDING, TextSpec, TokenStream


class Prompt(NamedTuple):
    """Pieces that texts begin with, without the begin mark.

    Attributes:
      text_tokens: of each clip, or the same for all of them.
      length: how many of the pieces count; None: all.
    """

    text_tokens: Int[Array, "B E P"] | Int[Array, " P"]
    length: Int[Array, "B E"] | None = None


class GeneratedText(NamedTuple):
    """What was written for the clips of every row.

    Attributes:
      text_tokens: from the begin mark on; behind the end mark there are only end marks.
      score: logarithm of the probability of what was written, its end mark included.
      written: False for a clip that got no text; what stands there means nothing.
      given: how many of the pieces were given: the begin mark and the prompt.
      steps: how often new pieces were read after those given: the longest text of the batch decides.
    """

    text_tokens: Int[Array, "B E T"]
    score: Float[Array, "B E"]
    written: Bool[Array, "B E"]
    given: Int[Array, "B E"]
    steps: Int[Array, ""]


Logits = Callable[[Float[Array, "*batch D"]], Float[Array, "*batch V"]]


def generate(
    backbone: nnx.Module,
    logits: Logits,
    text: TextSpec,
    stream: TokenStream,
    wanted: Bool[Array, "B E"],
    decoding: Decoding = Decoding(),
    prompt: Prompt | None = None,
    key: Key[Array, ""] | None = None,
) -> GeneratedText:
    """The texts that a search finds, all clips of all rows side by side.

    The loop stops when the text of every clip has ended. Mask, padding and begin mark are never written. What is
    drawn for a clip depends on the key, the clip's number and its view, not on its place in a batch.

    Args:
      backbone: a transformer with causal text.
      logits: of the next piece, of a token at the top.
      text: longest text and marks.
      stream: the clips; text that they have is left out.
      wanted: which clips are to get a text.
      decoding: how pieces are chosen.
      prompt: what texts begin with; they come out as given. One that fills the whole length stays as it is.
      key: of `sample`; None makes it of `decoding.seed`.

    Raises:
      ValueError: text without begin and end marks, a length or prompt that is too long, or a trunk that
        can't write (see `kv_cache.prefill`).
    """
    length = _checked_length(text, decoding)
    stream, wanted = jax.tree.map(jnp.asarray, stream), jnp.asarray(wanted)
    text_tokens, given, most = _given(text, prompt, wanted.shape, length)
    backbone = nnx.clone(backbone)
    backbone.eval()
    keys = _clip_keys(stream, jax.random.key(decoding.seed) if key is None else key)
    rules = SearchConfig(decoding, text, length - given, keys)
    writer = _Decoder(backbone, logits, prefill(backbone, stream), rules, given, text_tokens.shape[3], most)
    end = jax.lax.while_loop(
        writer.unfinished, writer.step, writer.start(text_tokens, init_search(rules, wanted, most))
    )
    score = jnp.where(end.search.best_rank > NEG_INF, end.search.best_score, 0.0)
    return GeneratedText(
        _whole(text_tokens, given, end.search.best, length, text.end_id), score, wanted, given, end.number - 1
    )


class _DecodeState(NamedTuple):
    """What changes while texts are written: the number of written pieces, the search, and what is kept of pieces."""

    number: Int[Array, ""]
    search: Search
    written: tuple[KVCache, ...]


class _Decoder(NamedTuple):
    """What stays the same while texts are written.

    Written pieces are kept in the slots behind all that is given, whatever a clip was given of it: all clips then
    write to the same slot, and only the places differ that the pieces have within their texts.

    Attributes:
      trunk, logits: as of `generate`.
      seen: what texts see of their clips.
      rules: of the search.
      given: how many pieces each text was given.
      slots: the most that any was given, `P`.
      most: the most pieces that any text may still get, `G`.
    """

    backbone: nnx.Module
    logits: Logits
    seen: tuple[PrefixCache, ...]
    rules: SearchConfig
    given: Int[Array, "B E"]
    slots: int
    most: int

    def start(self, text_tokens: Int[Array, "B 1 E P"], search: Search) -> _DecodeState:
        """Reads what is given, at once, and writes the first piece."""
        batch, _, clips, count = text_tokens.shape
        place = jnp.broadcast_to(jnp.arange(count), text_tokens.shape)
        nothing = jnp.zeros((batch, clips, 0), bool)
        top, new = decode_step(self.backbone, self.seen, empty_cache(self.seen, clips), text_tokens, place, nothing)
        last = jnp.take_along_axis(top, (self.given - 1)[:, None, :, None, None], axis=3)
        search, _ = extend_search(search, self._next(last), jnp.int32(0), self.rules)
        texts, slots = self.rules.decoding.texts, self.slots + self.most - 1
        return _DecodeState(jnp.int32(1), search, tuple(kept.pad_to(slots).repeated(texts) for kept in new))

    def step(self, going: _DecodeState) -> _DecodeState:
        """Reads the piece written last and writes one more."""
        last = jax.lax.dynamic_index_in_dim(going.search.text_tokens, going.number - 1, axis=3)
        place = jnp.broadcast_to((self.given + going.number - 1)[:, None, :, None], last.shape)
        slot, here = jnp.arange(self.slots + self.most - 1), self.slots + going.number - 1
        known = (slot < self.given[..., None]) | ((slot >= self.slots) & (slot < here))
        top, new = decode_step(self.backbone, self.seen, going.written, last, place, known)
        search, parent = extend_search(going.search, self._next(top), going.number, self.rules)
        kept = tuple(old.update(more, here) for old, more in zip(going.written, new, strict=True))
        if self.rules.decoding.texts > 1:
            kept = tuple(each.take(parent) for each in kept)
        return _DecodeState(going.number + 1, search, kept)

    def unfinished(self, going: _DecodeState) -> Bool[Array, ""]:
        """Whether some text goes on."""
        return (going.number < self.most) & ~going.search.done.all()

    def _next(self, top: Float[Array, "B W E 1 D"]) -> Float[Array, "B W E V"]:
        return self.logits(top[..., 0, :].astype(jnp.float32))


def _checked_length(text: TextSpec, decoding: Decoding) -> int:
    """The most pieces of a text."""
    if text.begin_id == PADDING or text.end_id == PADDING:
        raise ValueError("captions are written from a begin mark to an end mark: set input.text.begin to True")
    length = text.length if decoding.length is None else decoding.length
    if length > text.length:
        raise ValueError(
            f"decoding.length {length} is more than input.text.length {text.length}: the run knows no longer text"
        )
    return length


def _given(
    text: TextSpec, prompt: Prompt | None, shape: tuple[int, int], length: int
) -> tuple[Int[Array, "B 1 E P"], Int[Array, "B E"], int]:
    """What texts begin with, how many of the pieces count, and the most pieces that any text may still get."""
    none = jnp.zeros((*shape, 0), jnp.int32)
    text_tokens = none if prompt is None else jnp.asarray(prompt.text_tokens, jnp.int32)
    text_tokens = jnp.broadcast_to(text_tokens, (*shape, text_tokens.shape[-1]))
    longest = 1 + text_tokens.shape[-1]
    if longest > length:
        raise ValueError(
            f"a prompt of {longest - 1} pieces and a begin mark don't fit into texts of {length}: shorten the prompt, "
            "or raise decoding.length (at most input.text.length)"
        )
    own = None if prompt is None else prompt.length
    given = jnp.full(shape, longest) if own is None else 1 + jnp.clip(jnp.asarray(own), 0, longest - 1)
    first = jnp.full((*shape, 1), text.begin_id, jnp.int32)
    most = max(1, length - (longest if own is None else 1))
    return jnp.concatenate([first, text_tokens], axis=-1)[:, None], given.astype(jnp.int32), most


def _clip_keys(stream: TokenStream, key: Key[Array, ""]) -> Key[Array, "B E"]:
    """A key for each clip and view."""
    own = jax.vmap(jax.vmap(lambda number, view: jax.random.fold_in(jax.random.fold_in(key, number), view)))
    return own(jnp.maximum(stream.clips.clip_index, 0), jnp.maximum(stream.clips.view, 0))


def _whole(
    text_tokens: Int[Array, "B 1 E P"], given: Int[Array, "B E"], written: Int[Array, "B E G"], length: int, end: int
) -> Int[Array, "B E T"]:
    """What was given and what was written behind it."""
    place = jnp.arange(length)
    known = jnp.pad(text_tokens[:, 0], ((0, 0), (0, 0), (0, length - text_tokens.shape[3])))
    behind = jnp.broadcast_to(place - given[..., None], known.shape)
    inside = (behind >= 0) & (behind < written.shape[2])
    new = jnp.take_along_axis(written, jnp.where(inside, behind, 0), axis=2)
    return jnp.where(behind < 0, known, jnp.where(inside, new, end)).astype(jnp.int32)
