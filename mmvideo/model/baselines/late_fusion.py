"""Late fusion: vectors of each modality, concatenation, dense layers; and the features for objectives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from mmvideo.model.baselines.canvas import texts
from mmvideo.model.baselines.config import Baseline
from mmvideo.model.baselines.lstm import Lstm
from mmvideo.model.embed import TextEmbedder
from mmvideo.model.features import Features
from mmvideo.model.fusion.fusion_stages import APART, TOGETHER, Stage
from mmvideo.model.layers.basic import Linear, parameter
from mmvideo.model.sharding import by_rows
from mmvideo.stream import MODALITIES, PADDING, StreamSpec, TextSpec, TokenLayout, TokenStream

STAGES = (Stage(0, 1, APART, "apart"), Stage(1, 2, TOGETHER))
"""Each modality alone, then the whole clip."""

Vectors = tuple[Float[Array, "B E k w"], Bool[Array, "B E k"]]
"""Vectors of a modality of every clip, one per caption for text, else one; and a mask of those that are present."""


class TextBranch(nnx.Module):
    """An LSTM over the embedded tokens of a caption."""

    def __init__(self, config: Baseline, spec: TextSpec, *, rngs: nnx.Rngs):
        self.spec = spec
        self.words = TextEmbedder(spec, config.word, config.compute, rngs=rngs)
        self.lstm = Lstm(config.word, config.width, rngs=rngs)

    def __call__(self, stream: TokenStream) -> Vectors | None:
        found = texts(stream, self.spec)
        if found is None:
            return None
        text_tokens, present = found
        words = self.words(text_tokens.reshape(text_tokens.shape[0], -1))
        return self.lstm(words.reshape(*text_tokens.shape, -1), present), present.any(axis=-1)


class LateFusion(nnx.Module):
    """Branches, concatenation, dense layers, dropout.

    With several captions, their mean is concatenated. For a modality that a clip lacks, a learned vector is used, which
    starts at zero.

    The features hold one token for each clip and modality, for text one per caption. The first tap is each modality
    alone, mapped to the width of the features by a linear map of the modality. The last tap is the output of the dense
    layers, the same for all tokens of a clip; dropout acts on this one.

    Args:
      config: sizes.
      spec: the modalities of the run.
      branches: for each modality a module from a stream to `Vectors`, or to None if the stream lacks it.
      rngs: needs the streams `params` and `dropout`.
    """

    def __init__(self, config: Baseline, spec: StreamSpec, branches: dict[str, nnx.Module], *, rngs: nnx.Rngs):
        self.config, self.spec = config, spec
        self.branches = nnx.Dict(branches)
        width, out = config.width, config.dense[-1]
        self.absent = nnx.Dict({name: parameter(jnp.zeros(width), "norm") for name in branches})
        self.alone = nnx.Dict({name: Linear(width, out, rngs=rngs) for name in branches})
        sizes = (width * len(branches), *config.dense)
        pairs = enumerate(zip(sizes, config.dense, strict=False))
        self.dense = nnx.Dict(
            {str(number): Linear(before, after, axes=("embed", "mlp"), rngs=rngs) for number, (before, after) in pairs}
        )
        self.dropout = nnx.Dropout(config.dropout, rngs=rngs)

    def __call__(self, stream: TokenStream) -> Features:
        """Return features of one token per clip and modality, in the compute dtype.

        Raises:
          ValueError: a stream with a modality that the model was not built for.
        """
        unknown = sorted(set(stream.content) - set(self.spec.modalities))
        if unknown or not stream.content:
            raise ValueError(
                f"the stream holds {sorted(stream.content)}, the model was built for {list(self.spec.modalities)}"
            )
        stream = jax.tree.map(jnp.asarray, stream)
        found = {name: self._branch(name, stream) for name in self.spec.modalities}
        alone = jnp.concatenate([self.alone[name](vectors) for name, (vectors, _) in found.items()], axis=2)
        fused = self._fuse(found)
        together = jnp.broadcast_to(fused[:, :, None], alone.shape)
        taps = tuple(by_rows(tap.reshape(tap.shape[0], -1, tap.shape[-1])) for tap in (alone, together))
        layout = one_token_each({name: present for name, (_, present) in found.items()})
        none = jnp.zeros((*stream.clips.present.shape, 0, fused.shape[-1]), fused.dtype)
        # No token of the stream is kept, so objectives that predict tokens find none.
        place = jnp.full(stream.layout.modality.shape, PADDING, jnp.int32)
        return Features(taps, layout, (none,) * len(taps), place, STAGES, self.spec.modalities)

    def _branch(self, name: str, stream: TokenStream) -> Vectors:
        found = self.branches[name](stream)
        if found is not None:
            return found
        shape = (*stream.clips.clip_index.shape, self.spec.text.captions if name == "text" else 1)
        return jnp.zeros((*shape, self.config.width), self.config.compute), jnp.zeros(shape, jnp.bool_)

    def _fuse(self, found: dict[str, Vectors]) -> Float[Array, "B E D"]:
        """Return one vector per clip."""
        parts = []
        for name, (vectors, present) in found.items():
            # Every clip gets a vector of each modality, so that the concatenation has a fixed width.
            absent = self.absent[name][...].astype(vectors.dtype)
            has = present.any(axis=-1, keepdims=True)
            parts.append(jnp.where(has, mean_present(vectors, present), absent))
        x = jnp.concatenate(parts, axis=-1)
        for layer in self.dense.values():
            x = jax.nn.relu(layer(x))
        return self.dropout(x)


def check_run(spec: StreamSpec) -> None:
    """Raise ValueError for a run that no baseline supports: without modalities, or with audio as a raw waveform."""
    if not spec.modalities:
        raise ValueError("the stream has no modality: give at least one of video, audio and text")
    if spec.audio is not None and len(spec.audio.patch) != 2:
        raise ValueError(
            "model.kind: the baselines need spectrograms, but the audio of this run is a raw waveform: leave out "
            "input.audio.waveform, or set model.kind transformer"
        )


def mean_present(vectors: Float[Array, "B E k w"], present: Bool[Array, "B E k"]) -> Float[Array, "B E w"]:
    """Return the mean of the vectors that are present; zero if none is."""
    count = jnp.maximum(present.sum(axis=-1, keepdims=True), 1).astype(vectors.dtype)
    return jnp.where(present[..., None], vectors, 0).sum(axis=2) / count


def one_token_each(present: dict[str, Bool[Array, "B E _"]]) -> TokenLayout:
    """Return rows in which each clip has a token for each vector of each modality; padding where the vector is absent.

    Args:
      present: for each modality a mask of the vectors that each clip has, one per caption for text.
    """
    whole = jnp.concatenate(list(present.values()), axis=-1)
    batch, slots, count = whole.shape
    # Example: video, audio and 2 captions: columns [(0, 0), (1, 0), (2, 0), (2, 1)], so clip 1 has tokens 4 to 7.
    columns = [(MODALITIES.index(name), k) for name, there in present.items() for k in range(there.shape[-1])]
    modality, caption = (jnp.array(numbers, jnp.int32) for numbers in zip(*columns, strict=True))
    clip = jnp.arange(slots, dtype=jnp.int32)[:, None]
    zero = jnp.zeros_like(whole, jnp.int32)
    grid = jnp.stack([zero, jnp.where(whole, caption, 0), zero], axis=-1)
    return TokenLayout(
        source_index=jnp.broadcast_to(jnp.arange(slots * count, dtype=jnp.int32), (batch, slots * count)),
        modality=jnp.where(whole, modality, PADDING).reshape(batch, -1),
        clip=jnp.where(whole, clip, PADDING).reshape(batch, -1),
        time=jnp.zeros((batch, slots * count), jnp.float32),
        grid=grid.reshape(batch, -1, 3),
    )
