"""Writes captions piece by piece: the trunk runs again on the growing text."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.full import text_base
from mmvideo.model.ordering import clip_order, join_rows, take_tokens
from mmvideo.objectives.counting import tap_places
from mmvideo.stream import PADDING, Layout, Modality, TextSpec, TokenStream

NEVER = -1e9
"""Score of what is not to be chosen; finite, so that sums of it are."""


class Captions(NamedTuple):
    """What was written for the clips of every row.

    Attributes:
      pieces: from the begin mark on; behind the end mark there are only end marks.
      score: logarithm of the caption's probability, its end mark included.
      written: False for a clip that got no caption; what stands there means nothing.
    """

    pieces: Int[Array, "B E T"]
    score: Float[Array, "B E"]
    written: Bool[Array, "B E"]


class Beam(NamedTuple):
    """The best beginnings of a caption for each clip, `W` of them: their pieces and scores."""

    pieces: Int[Array, "B W E T"]
    score: Float[Array, "B W E"]


def generate(
    trunk: nnx.Module,
    logits: Callable[[Float[Array, "B E D"]], Float[Array, "B E V"]],
    text: TextSpec,
    stream: TokenStream,
    wanted: Bool[Array, "B E"],
    beams: int = 1,
) -> Captions:
    """The most probable captions that a search finds: the likeliest piece at each step, or the likeliest beginnings.

    Every clip gets room for the longest caption. Since text is causal, what stands behind the pieces
    so far changes nothing, and one program serves for all steps; each runs the whole trunk once.

    Args:
      trunk: with causal text.
      logits: of the next piece, of a token at the top.
      text: longest caption and marks.
      stream: the clips; text that they have is left out.
      wanted: which clips are to get a caption.
      beams: beginnings kept, `W`; 1 is greedy. The rows grow `W`-fold.

    Raises:
      ValueError: text without begin and end marks, or no beam.
    """
    if text.begin_id == PADDING or text.end_id == PADDING:
        raise ValueError("captions are written from a begin mark to an end mark: set input.text.begin to True")
    if beams < 1:
        raise ValueError(f"{beams} beams: keep at least 1")
    trunk = nnx.clone(trunk)
    trunk.eval()
    room, place = _make_room(jax.tree.map(jnp.asarray, stream), wanted, text.length)
    room = jax.tree.map(lambda array: jnp.repeat(array, beams, axis=0), room)
    batch, slots = wanted.shape

    def step(number: Array, beam: Beam) -> Beam:
        written = beam.pieces.reshape(batch * beams, -1)
        features = trunk(dataclasses.replace(room, content=room.content | {"text": written}))
        here = jnp.repeat(jax.lax.dynamic_index_in_dim(place, number, axis=2, keepdims=False), beams, axis=0)
        tokens = jnp.take_along_axis(features.top, tap_places(features, here)[..., None], axis=1)
        chances = jax.nn.log_softmax(logits(tokens.astype(jnp.float32)), axis=-1)
        return extend(beam, chances.reshape(batch, beams, slots, -1), number, text.end_id)

    first = jnp.full((batch, beams, slots, text.length), text.end_id, jnp.int32).at[..., 0].set(text.begin_id)
    # All beams begin alike: but for one they are shut out of the first step.
    score = jnp.where(jnp.arange(beams) == 0, 0.0, NEVER)[None, :, None] + jnp.zeros((batch, beams, slots))
    best = jax.lax.fori_loop(0, text.length - 1, step, Beam(first, score))
    return Captions(best.pieces[:, 0], best.score[:, 0], jnp.asarray(wanted))


def extend(beam: Beam, chances: Float[Array, "B W E V"], number: Int[Array, ""], end: int) -> Beam:
    """The likeliest beginnings with one more piece, best first; one that has ended goes on with end marks for nothing.

    Args:
      beam: whose piece `number` is the last.
      chances: logarithm of the probability of each next piece.
      number: of the last piece.
      end: the end mark.
    """
    batch, beams, slots, vocabulary = chances.shape
    ended = (jax.lax.dynamic_index_in_dim(beam.pieces, number, axis=3, keepdims=False) == end)[..., None]
    only_end = jnp.where(jnp.arange(vocabulary) == end, 0.0, NEVER)
    total = beam.score[..., None] + jnp.where(ended, only_end, chances)
    total = jnp.moveaxis(total, 1, 2).reshape(batch, slots, beams * vocabulary)
    score, choice = jax.lax.top_k(total, beams)
    score, choice = jnp.moveaxis(score, 2, 1), jnp.moveaxis(choice, 2, 1)
    pieces = jnp.take_along_axis(beam.pieces, (choice // vocabulary)[..., None], axis=1)
    return Beam(jax.lax.dynamic_update_index_in_dim(pieces, choice % vocabulary, number + 1, axis=3), score)


def _make_room(stream: TokenStream, wanted: Bool[Array, "B E"], length: int) -> tuple[TokenStream, Int[Array, "B E T"]]:
    """The clips with `length` text tokens behind each wanted one, and where in the row those stand.

    The text has no content yet; it is to be `[B, E * T]`.
    """
    batch, slots = wanted.shape
    old, base = stream.layout, text_base(stream)
    media = dataclasses.replace(old, modality=jnp.where(old.modality == Modality.TEXT, PADDING, old.modality))
    places = jnp.broadcast_to(jnp.arange(slots * length, dtype=jnp.int32), (batch, slots * length))
    there = jnp.repeat(jnp.asarray(wanted), length, axis=1)
    zeros = jnp.zeros_like(places)
    text = Layout(
        index=base + places,
        modality=jnp.where(there, int(Modality.TEXT), PADDING),
        clip=jnp.where(there, places // length, PADDING),
        time=zeros.astype(jnp.float32),
        grid=jnp.stack([zeros, zeros, places % length], axis=-1),
    )
    both = join_rows(media, text)
    order = clip_order(both)
    stands = jnp.argsort(order, axis=1)[:, old.modality.shape[1] :].reshape(batch, slots, length)
    row = take_tokens(both, order[:, : min(old.modality.shape[1], base) + slots * length])
    stands = jnp.minimum(stands, row.modality.shape[1] - 1).astype(jnp.int32)
    clips = dataclasses.replace(stream.clips, present=stream.clips.present.at[..., Modality.TEXT].set(wanted))
    return dataclasses.replace(stream, layout=row, targets={}, decode=None, clips=clips), stands
