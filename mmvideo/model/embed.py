"""Embedding of content as tokens: one dense product per modality, then a gather into the order of the row."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Num

from mmvideo.model.layers.audio_stem import ConvolutionStem, joined_patches
from mmvideo.model.layers.basic import Linear, normal, parameter
from mmvideo.model.layers.inflate import inflate
from mmvideo.model.sharding import by_tokens, whole, whole_rows
from mmvideo.stream import MODALITIES, PatchSpec, StreamSpec, TextSpec, TokenLayout, TokenStream

TEXT_DEVIATION = 0.5
"""Standard deviation of new text embeddings: about that of embedded patches, so that all modalities start alike."""


class PatchEmbedder(nnx.Module):
    """Patches to tokens: tubelets of pixels, patches of a spectrogram, or windows of a waveform (VATT).

    uint8 pixels are first mapped from [0, 255] to [-1, 1].
    """

    def __init__(self, spec: PatchSpec, width: int, compute: str, *, rngs: nnx.Rngs):
        self.spec, self.compute = spec, compute
        self.dense = Linear(spec.size, width, axes=("patch", "embed"), rngs=rngs)

    def __call__(self, patches: Num[Array, "B N P"]) -> Float[Array, "B N D"]:
        if patches.dtype == jnp.uint8:
            patches = patches.astype(jnp.float32) / 127.5 - 1.0
        return self.dense(patches.astype(self.compute))

    def start_from_image(
        self, kernel: Float[Array, "y x c D"], bias: Float[Array, " D"] | None = None, how: str = "central"
    ) -> None:
        """Load the patch embedder of an image model, inflated to tubelets (see `inflate`).

        Args:
          kernel: kernel of the image model, for pixels in [-1, 1].
          bias: bias of the image model; None keeps the current one.
          how: `central` or `mean`.

        Raises:
          ValueError: the embedder is not one of tubelets, or patch or width differ.
        """
        width = self.dense.bias.shape[0]
        if len(self.spec.patch) != 4 or kernel.shape != (*self.spec.patch[1:], width):
            raise ValueError(
                f"an image kernel {kernel.shape} (y, x, colours, width) does not fit patches {self.spec.patch} of "
                f"width {width}: inflation changes the number of frames only"
            )
        tubelet = inflate(kernel, self.spec.patch[0], how)
        self.dense.kernel[...] = tubelet.reshape(-1, width).astype(jnp.float32)
        if bias is not None:
            self.dense.bias[...] = bias.astype(jnp.float32)


class TextEmbedder(nnx.Module):
    """Text token ids to tokens, by a table."""

    def __init__(self, spec: TextSpec, width: int, compute: str, *, rngs: nnx.Rngs):
        self.compute = compute
        self.table = parameter(normal(rngs, (spec.vocabulary, width), TEXT_DEVIATION), "vocab", "embed")

    def __call__(self, text_tokens: Int[Array, "B N"]) -> Float[Array, "B N D"]:
        return jnp.take(whole(self.table[...].astype(self.compute)), text_tokens, axis=0, mode="clip")


class ModalityEmbedding(nnx.Module):
    """A learned vector for each modality."""

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        self.table = parameter(normal(rngs, (len(MODALITIES), width)), "place", "embed")

    def __call__(self, layout: TokenLayout, dtype: jnp.dtype | str) -> Float[Array, "B L D"]:
        # One-hot of PADDING (-1) is a row of zeros, so padding stays zero. A product instead of a gather keeps the
        # gradient a product too: no scatter into three rows.
        return jax.nn.one_hot(layout.modality, len(MODALITIES), dtype=dtype) @ self.table[...].astype(dtype)


class Embedder(nnx.Module):
    """Embedding of all modalities of a stream as the tokens of its rows; padding is zero.

    Args:
      spec: the modalities and their patches.
      width: `D`.
      compute: dtype of the tokens.
      audio_stem: `patches`, or `convolution` (see `mmvideo.model.layers.audio_stem`).
    """

    def __init__(self, spec: StreamSpec, width: int, compute: str, audio_stem: str = "patches", *, rngs: nnx.Rngs):
        self.known = spec.modalities
        self.modality = ModalityEmbedding(width, rngs=rngs)
        for name in spec.modalities:
            kind = TextEmbedder if name == "text" else PatchEmbedder
            if name == "audio" and audio_stem == "convolution":
                kind = ConvolutionStem
            setattr(self, name, kind(getattr(spec, name), width, compute, rngs=rngs))

    def __call__(self, stream: TokenStream) -> Float[Array, "B L D"]:
        """Return the embedded tokens.

        Raises:
          ValueError: the stream holds a modality that the model was not built for.
        """
        unknown = sorted(set(stream.content) - set(self.known))
        if unknown or not stream.content:
            raise ValueError(f"the stream holds {sorted(stream.content)}, the model was built for {list(self.known)}")
        # The source is [video | audio | text], without absent modalities; `source_index` counts in it.
        parts = [by_tokens(self._embedded(name, stream)) for name in MODALITIES if name in stream.content]
        tokens = weave(jnp.concatenate(parts, axis=1), stream.layout.source_index, stream.layout.is_token)
        tokens = tokens + self.modality(stream.layout, tokens.dtype)
        return jnp.where(stream.layout.is_token[..., None], tokens, 0)

    def _embedded(self, name: str, stream: TokenStream) -> Float[Array, "B N D"]:
        embedder = getattr(self, name)
        content = stream.content[name]
        if isinstance(embedder, ConvolutionStem):
            return embedder(content, joined_patches(stream, name))
        return embedder(content)


def weave(source: Float[Array, "B S D"], index: Int[Array, "B L"], real: Bool[Array, "B L"]) -> Float[Array, "B L D"]:
    """Gather the tokens of a row from a source by index; zero where the row has no token.

    Example: index [0, 2, 1, 0] with real [1, 1, 1, 0] gives [source[0], source[2], source[1], 0].
    """
    return by_tokens(jnp.where(real[..., None], jnp.take_along_axis(whole_rows(source), index[..., None], axis=1), 0))
