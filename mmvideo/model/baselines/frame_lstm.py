"""A CNN of each frame and an LSTM over them, and the like for sound: late fusion that knows what comes first."""

from __future__ import annotations

from flax import nnx

from mmvideo.model.baselines.canvas import Images, frames, strips
from mmvideo.model.baselines.config import FrameLstm
from mmvideo.model.baselines.convolution import ImageEncoder
from mmvideo.model.baselines.late_fusion import LateFusion, TextBranch, Vectors, check_run
from mmvideo.model.baselines.lstm import Lstm
from mmvideo.stream import PatchSpec, StreamSpec, TokenStream


class SequenceBranch(nnx.Module):
    """Pictures one after the other: each to a vector, an LSTM over those that are there.

    Args:
      config: sizes.
      shape: rows, columns and colours of a picture.
    """

    def __init__(self, config: FrameLstm, shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        self.compute = config.compute
        self.encode = ImageEncoder(shape, config.channels, config.width, rngs=rngs)
        self.lstm = Lstm(config.width, config.width, rngs=rngs)

    def run(self, found: Images | None) -> Vectors | None:
        """The last state of the LSTM; None for no pictures."""
        if found is None:
            return None
        pictures, present = found
        state = self.lstm(self.encode(pictures.astype(self.compute)), present)
        return state[:, :, None], present.any(axis=-1, keepdims=True)


class VideoBranch(SequenceBranch):
    """Frame after frame."""

    def __init__(self, config: FrameLstm, spec: PatchSpec, *, rngs: nnx.Rngs):
        _, y, x, colours = spec.patch
        super().__init__(config, (spec.grid[1] * y, spec.grid[2] * x, colours), rngs=rngs)
        self.spec = spec

    def __call__(self, stream: TokenStream) -> Vectors | None:
        return self.run(frames(stream, self.spec))


class AudioBranch(SequenceBranch):
    """One time step of patches after the other, all mel bins at once."""

    def __init__(self, config: FrameLstm, spec: PatchSpec, *, rngs: nnx.Rngs):
        t, mel = spec.patch
        super().__init__(config, (t, spec.grid[1] * mel, 1), rngs=rngs)
        self.spec = spec

    def __call__(self, stream: TokenStream) -> Vectors | None:
        return self.run(strips(stream, self.spec))


BRANCHES = {"video": VideoBranch, "audio": AudioBranch, "text": TextBranch}


def frame_lstm(config: FrameLstm, spec: StreamSpec, *, rngs: nnx.Rngs) -> LateFusion:
    """A new CNN + LSTM over time; raises ValueError for a run that it cannot serve."""
    check_run(spec)
    branches = {name: BRANCHES[name](config, getattr(spec, name), rngs=rngs) for name in spec.modalities}
    return LateFusion(config, spec, branches, rngs=rngs)
