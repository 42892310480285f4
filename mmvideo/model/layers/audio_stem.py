"""An audio stem of two convolutions over time, as in Whisper (Radford et al. 2022, section 2.2).

The first convolution sees three rows of the spectrogram. The second sees three outputs of the first, with a stride of
two. GELU follows each; beyond the ends of a clip the input is zero. A token is therefore a patch of two rows with all
their mel bins, and the stem computes each token from its own two rows and their neighbours:

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
    """Patches of two spectrogram rows to tokens by two convolutions of three steps, the second with a stride of two.

    Each kernel is one matrix over the flattened steps and channels of its window.

    Args:
      spec: spec of the audio; its patches are two rows of all mel bins.
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
        """Return the tokens.

        Args:
          patches: patches of a row, those of a clip in order of time.
          joined: True where the patch before is of the same clip and one step earlier.
        """
        rows = patches.astype(self.compute).reshape(*patches.shape[:2], 2, self.bins)
        # A hidden patch between two visible ones, or the end of a clip, breaks `joined`: its rows count as zero.
        # Example: joined [0 1 0] means that patch 1 continues patch 0 and patch 2 does not continue patch 1.
        has_next = jnp.pad(joined[:, 1:], ((0, 0), (0, 1)))[..., None]
        previous_row = jnp.where(joined[..., None], _shifted(rows[:, :, 1], 1), 0)
        next_row = jnp.where(has_next, _shifted(rows[:, :, 0], -1), 0)
        windows = jnp.stack(
            [
                jnp.concatenate([previous_row, rows[:, :, 0], rows[:, :, 1]], axis=-1),
                jnp.concatenate([rows[:, :, 0], rows[:, :, 1], next_row], axis=-1),
            ],
            axis=2,
        )
        inner = gelu(self.first(windows))
        previous = jnp.where(joined[..., None], _shifted(inner[:, :, 1], 1), 0)
        return gelu(self.second(jnp.concatenate([previous, inner[:, :, 0], inner[:, :, 1]], axis=-1)))


def _shifted(x: Float[Array, "B N D"], steps: int) -> Float[Array, "B N D"]:
    return jnp.roll(x, steps, axis=1)


def joined_patches(stream: TokenStream, name: str) -> Bool[Array, "B N"]:
    """Return a mask of patches that directly follow the patch before them: same clip, one step later."""
    layout = stream.layout
    count = stream.content[name].shape[1]
    names = [other for other in MODALITIES if other in stream.content]
    first = sum(stream.content[other].shape[1] for other in names[: names.index(name)])
    own = layout.modality == MODALITIES.index(name)
    # From the order of the row to the order of the content. Tokens of other modalities get the index `count`, which is
    # out of bounds, so that `drop` leaves them out.
    index = jnp.where(own, layout.source_index - first, count)
    row = jnp.arange(len(index))[:, None]

    def scattered(values: Int[Array, "B L"]) -> Int[Array, "B N"]:
        return jnp.full((len(index), count), PADDING).at[row, index].set(values, mode="drop")

    clip, step = scattered(layout.clip), scattered(layout.grid[..., 0])
    same = (clip[:, 1:] == clip[:, :-1]) & (step[:, 1:] == step[:, :-1] + 1) & (clip[:, 1:] != PADDING)
    return jnp.pad(same, ((0, 0), (1, 0)))
