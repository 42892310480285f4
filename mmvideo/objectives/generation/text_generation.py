"""Generation of texts token by token: the media are encoded once, and each step costs one token a clip.

Letters: as in `kv_cache` and `beam_search`; `P` given tokens, the begin mark and the prompt.
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
    """Tokens that texts start with, without the begin mark.

    Attributes:
      text_tokens: Tokens of each clip, or the same tokens for all clips.
      length: Number of the tokens that count. None: all.
    """

    text_tokens: Int[Array, "B E P"] | Int[Array, " P"]
    length: Int[Array, "B E"] | None = None


class GeneratedText(NamedTuple):
    """Generated texts of the clips of every row.

    Attributes:
      text_tokens: Tokens from the begin mark on, with end marks after the first end mark.
      score: Log probability of the generated tokens, with the end mark.
      written: False for a clip without a generated text; its other values are meaningless.
      given: Number of given tokens: the begin mark and the prompt.
      steps: Number of decoding steps after the given tokens; the longest text of the batch decides.
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
    """Return the texts that a search finds, for all clips of all rows in parallel.

    The loop stops when the text of every clip has ended. Mask token, padding and begin mark are never generated. A
    sampled text depends on the key, the clip's index and its view, not on its position in a batch.

    Args:
      backbone: A transformer with causal text.
      logits: Function from a token's top features to the logits of the next token.
      text: Largest length of a text, and its marks.
      stream: The clips; their own texts are ignored.
      wanted: Mask of the clips that get a text.
      decoding: Settings of the search.
      prompt: Tokens that texts start with, unchanged in the result. A prompt of the full length stays as it is.
      key: Random key of `sample`. None makes it from `decoding.seed`.

    Raises:
      ValueError: Text has no begin and end marks, a length or prompt is too long, or the backbone can't generate (see
        `kv_cache.prefill`).
    """
    length = _checked_length(text, decoding)
    stream = jax.tree.map(jnp.asarray, stream)
    wanted = jnp.asarray(wanted)
    text_tokens, given, most = _given(text, prompt, wanted.shape, length)
    # A clone, so that eval mode (no dropout) does not leak into the caller's model.
    backbone = nnx.clone(backbone)
    backbone.eval()
    keys = _clip_keys(stream, jax.random.key(decoding.seed) if key is None else key)
    rules = SearchConfig(decoding, text, length - given, keys)
    writer = _Decoder(backbone, logits, prefill(backbone, stream), rules, given, text_tokens.shape[3], most)
    end = jax.lax.while_loop(
        writer.unfinished, writer.step, writer.start(text_tokens, init_search(rules, wanted, most))
    )
    # A clip without any text keeps a rank of -inf; its score would be -inf too.
    score = jnp.where(end.search.best_rank > NEG_INF, end.search.best_score, 0.0)
    return GeneratedText(
        _whole(text_tokens, given, end.search.best, length, text.end_id), score, wanted, given, end.number - 1
    )


class _DecodeState(NamedTuple):
    """Variables of the decoding loop: number of generated tokens, search, and key and value cache of texts."""

    number: Int[Array, ""]
    search: Search
    written: tuple[KVCache, ...]


class _Decoder(NamedTuple):
    """Constants of the decoding loop.

    Generated tokens are cached after the slots of all given tokens, even for clips with fewer given tokens. All clips
    then write to the same slot in a step, and only the positions of the tokens within their texts differ.

    Attributes:
      backbone: Backbone, as for `generate`.
      logits: Logits of the next token, as for `generate`.
      seen: Keys and values of the media that texts attend to.
      rules: Constants of the search.
      given: Number of given tokens of each text.
      slots: Largest number of given tokens, `P`.
      most: Largest number of tokens that any text may still get, `G`.
    """

    backbone: nnx.Module
    logits: Logits
    seen: tuple[PrefixCache, ...]
    rules: SearchConfig
    given: Int[Array, "B E"]
    slots: int
    most: int

    def start(self, text_tokens: Int[Array, "B 1 E P"], search: Search) -> _DecodeState:
        """Encode all given tokens at once, and choose the first new token."""
        batch, _, clips, count = text_tokens.shape
        place = jnp.broadcast_to(jnp.arange(count), text_tokens.shape)
        nothing = jnp.zeros((batch, clips, 0), bool)
        top, new = decode_step(self.backbone, self.seen, empty_cache(self.seen, clips), text_tokens, place, nothing)
        # The last given token predicts the first new one: given [3, 1] reads the features at [2, 0].
        last = jnp.take_along_axis(top, (self.given - 1)[:, None, :, None, None], axis=3)
        search, _ = extend_search(search, self._next(last), jnp.int32(0), self.rules)
        # The last generated token is never fed back, so the cache needs P + G - 1 slots.
        texts = self.rules.decoding.texts
        slots = self.slots + self.most - 1
        return _DecodeState(jnp.int32(1), search, tuple(kept.pad_to(slots).repeated(texts) for kept in new))

    def step(self, going: _DecodeState) -> _DecodeState:
        """Encode the last generated token and choose one more."""
        last = jax.lax.dynamic_index_in_dim(going.search.text_tokens, going.number - 1, axis=3)
        place = jnp.broadcast_to((self.given + going.number - 1)[:, None, :, None], last.shape)
        slot = jnp.arange(self.slots + self.most - 1)
        here = self.slots + going.number - 1
        # P = 3, given [3, 1], 2 generated tokens of which the last is fed now: here is 4. The first clip attends to
        # cached slots 0, 1, 2, 3, the second to 0 and 3; its slots 1 and 2 hold no token.
        known = (slot < self.given[..., None]) | ((slot >= self.slots) & (slot < here))
        top, new = decode_step(self.backbone, self.seen, going.written, last, place, known)
        search, parent = extend_search(going.search, self._next(top), going.number, self.rules)
        kept = tuple(old.update(more, here) for old, more in zip(going.written, new, strict=True))
        if self.rules.decoding.texts > 1:
            # A beam continues a text that may have been another beam, so its cache comes from that parent.
            kept = tuple(each.take(parent) for each in kept)
        return _DecodeState(going.number + 1, search, kept)

    def unfinished(self, going: _DecodeState) -> Bool[Array, ""]:
        """Return True while some text goes on."""
        return (going.number < self.most) & ~going.search.done.all()

    def _next(self, top: Float[Array, "B W E 1 D"]) -> Float[Array, "B W E V"]:
        return self.logits(top[..., 0, :].astype(jnp.float32))


def _checked_length(text: TextSpec, decoding: Decoding) -> int:
    """Return the largest number of tokens of a text."""
    if text.begin_id == PADDING or text.end_id == PADDING:
        raise ValueError("text is generated from a begin mark to an end mark: set input.text.begin to True")
    length = text.length if decoding.length is None else decoding.length
    if length > text.length:
        raise ValueError(
            f"decoding.length {length} is more than input.text.length {text.length}: the run has no longer texts"
        )
    return length


def _given(
    text: TextSpec, prompt: Prompt | None, shape: tuple[int, int], length: int
) -> tuple[Int[Array, "B 1 E P"], Int[Array, "B E"], int]:
    """Return the given tokens, the number that counts for each text, and the most new tokens of any text."""
    none = jnp.zeros((*shape, 0), jnp.int32)
    text_tokens = none if prompt is None else jnp.asarray(prompt.text_tokens, jnp.int32)
    text_tokens = jnp.broadcast_to(text_tokens, (*shape, text_tokens.shape[-1]))
    longest = 1 + text_tokens.shape[-1]
    if longest > length:
        raise ValueError(
            f"a prompt of {longest - 1} tokens and a begin mark don't fit into texts of {length}: shorten the prompt, "
            "or raise decoding.length (at most input.text.length)"
        )
    own = None if prompt is None else prompt.length
    given = jnp.full(shape, longest) if own is None else 1 + jnp.clip(jnp.asarray(own), 0, longest - 1)
    first = jnp.full((*shape, 1), text.begin_id, jnp.int32)
    # With a length for each clip, a prompt may be empty: then only the begin mark is sure to be given.
    most = max(1, length - (longest if own is None else 1))
    return jnp.concatenate([first, text_tokens], axis=-1)[:, None], given.astype(jnp.int32), most


def _clip_keys(stream: TokenStream, key: Key[Array, ""]) -> Key[Array, "B E"]:
    """Return a random key for each clip and view."""
    # The key depends on clip and view only: the same clip draws the same text in any batch and on any mesh.
    own = jax.vmap(jax.vmap(lambda number, view: jax.random.fold_in(jax.random.fold_in(key, number), view)))
    return own(jnp.maximum(stream.clips.clip_index, 0), jnp.maximum(stream.clips.view, 0))


def _whole(
    text_tokens: Int[Array, "B 1 E P"], given: Int[Array, "B E"], written: Int[Array, "B E G"], length: int, end: int
) -> Int[Array, "B E T"]:
    """Return the given tokens followed by the generated ones."""
    # given 2, generated [7, 8], length 5, end 9: offset is [-2, -1, 0, 1, 2], and the text is [known, known, 7, 8, 9].
    place = jnp.arange(length)
    known = jnp.pad(text_tokens[:, 0], ((0, 0), (0, 0), (0, length - text_tokens.shape[3])))
    offset = jnp.broadcast_to(place - given[..., None], known.shape)
    inside = (offset >= 0) & (offset < written.shape[2])
    new = jnp.take_along_axis(written, jnp.where(inside, offset, 0), axis=2)
    return jnp.where(offset < 0, known, jnp.where(inside, new, end)).astype(jnp.int32)
