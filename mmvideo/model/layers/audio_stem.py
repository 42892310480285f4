"""A stem of two convolutions over time for a spectrogram, as Whisper has it (Radford et al. 2022, section 2.2).

The first convolution sees three rows of the spectrogram, the second sees three of the first's answers and takes every
second of them, each followed by GELU; beyond the ends of a clip there are zeros. A token is therefore a patch of two
rows with all their mel bins, and the stem is computed patch by patch from a token's own rows and those beside it:

    rows      … a1 | b0 b1 | c0 …        tokens a, b, c of one clip
    first     b0' from (a1, b0, b1), b1' from (b0, b1, c0)
    second    b   from (a1', b0', b1')
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from mmvideo.model.layers.basic import Linear, gelu
from mmvideo.stream import MODALITIES, PADDING, PatchSpec, TokenStream


class ConvolutionStem(nnx.Module):
    """Patches of two rows of a spectrogram to tokens by two convolutions of three steps, the second of stride two.

    The kernels of three steps by channels lie one behind the other in one matrix each.

    Args:
      spec: of the sound; its patches are two rows of all mel bins.
      width: `D`.
      compute: dtype of the tokens.

    Raises:
      ValueError: other patches.
    """

    def __init__(self, spec: PatchSpec, width: int, compute: str, *, rngs: nnx.Rngs):
        if len(spec.patch) != 2 or spec.patch[0] != 2 or spec.grid[1] != 1:
            raise ValueError(
                f"model.audio_stem convolution needs patches of 2 rows with all mel bins, not {spec.patch} in a "
                f"grid of {spec.grid}: set input.audio.patch to (2, input.audio.spectrogram.bins), without a stride"
            )
        self.bins, self.compute = spec.patch[1], compute
        self.first = Linear(3 * self.bins, width, axes=("patch", "embed"), rngs=rngs)
        self.second = Linear(3 * width, width, axes=("embed", "mlp"), rngs=rngs)

    def __call__(self, patches: Float[Array, "B N P"], joined: Bool[Array, "B N"]) -> Float[Array, "B N D"]:
        """Tokens.

        Args:
          patches: of a row, those of a clip one behind the other in time.
          joined: where the patch before is the one before it in time and of the same clip.
        """
        rows = patches.astype(self.compute).reshape(*patches.shape[:2], 2, self.bins)
        after = jnp.pad(joined[:, 1:], ((0, 0), (0, 1)))[..., None]
        before = jnp.where(joined[..., None], _shifted(rows[:, :, 1], 1), 0)
        behind = jnp.where(after, _shifted(rows[:, :, 0], -1), 0)
        windows = jnp.stack(
            [
                jnp.concatenate([before, rows[:, :, 0], rows[:, :, 1]], axis=-1),
                jnp.concatenate([rows[:, :, 0], rows[:, :, 1], behind], axis=-1),
            ],
            axis=2,
        )
        inner = gelu(self.first(windows))
        before = jnp.where(joined[..., None], _shifted(inner[:, :, 1], 1), 0)
        return gelu(self.second(jnp.concatenate([before, inner[:, :, 0], inner[:, :, 1]], axis=-1)))


def _shifted(x: Float[Array, "B N D"], steps: int) -> Float[Array, "B N D"]:
    return jnp.roll(x, steps, axis=1)


def joined_patches(stream: TokenStream, name: str) -> Bool[Array, "B N"]:
    """Return a mask of patches that directly follow the patch before them: same clip, one step later."""
    layout, count = stream.layout, stream.content[name].shape[1]
    names = [other for other in MODALITIES if other in stream.content]
    first = sum(stream.content[other].shape[1] for other in names[: names.index(name)])
    own = layout.modality == MODALITIES.index(name)
    place = jnp.where(own, layout.source_index - first, count)
    row = jnp.arange(len(place))[:, None]

    def scattered(values: Int[Array, "B L"]) -> Int[Array, "B N"]:
        return jnp.full((len(place), count), PADDING).at[row, place].set(values, mode="drop")

    clip, step = scattered(layout.clip), scattered(layout.grid[..., 0])
    same = (clip[:, 1:] == clip[:, :-1]) & (step[:, 1:] == step[:, :-1] + 1) & (clip[:, 1:] != PADDING)
    return jnp.pad(same, ((0, 0), (1, 0)))
