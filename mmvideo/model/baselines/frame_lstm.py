"""Late fusion with temporal order: a CNN of each frame and an LSTM over them, and the same for audio."""

from __future__ import annotations

from flax import nnx

from mmvideo.model.baselines.canvas import Images, frames, strips
from mmvideo.model.baselines.config import FrameLstm
from mmvideo.model.baselines.convolution import ImageEncoder
from mmvideo.model.baselines.late_fusion import LateFusion, TextBranch, Vectors, check_run
from mmvideo.model.baselines.lstm import Lstm
from mmvideo.stream import PatchSpec, StreamSpec, TokenStream


class SequenceBranch(nnx.Module):
    """A sequence of images: each is encoded to a vector, and an LSTM runs over those that are present.

    Args:
      config: sizes.
      shape: rows, columns and colours of an image.
    """

    def __init__(self, config: FrameLstm, shape: tuple[int, int, int], *, rngs: nnx.Rngs):
        self.compute = config.compute
        self.encode = ImageEncoder(shape, config.channels, config.width, rngs=rngs)
        self.lstm = Lstm(config.width, config.width, rngs=rngs)

    def run(self, found: Images | None) -> Vectors | None:
        """Return the last state of the LSTM; None without images."""
        if found is None:
            return None
        images, present = found
        state = self.lstm(self.encode(images.astype(self.compute)), present)
        return state[:, :, None], present.any(axis=-1, keepdims=True)


class VideoBranch(SequenceBranch):
    """The sequence of frames."""

    def __init__(self, config: FrameLstm, spec: PatchSpec, *, rngs: nnx.Rngs):
        _, y, x, colours = spec.patch
        super().__init__(config, (spec.grid[1] * y, spec.grid[2] * x, colours), rngs=rngs)
        self.spec = spec

    def __call__(self, stream: TokenStream) -> Vectors | None:
        return self.run(frames(stream, self.spec))


class AudioBranch(SequenceBranch):
    """The sequence of time steps of patches, with all mel bins of a step as one image."""

    def __init__(self, config: FrameLstm, spec: PatchSpec, *, rngs: nnx.Rngs):
        t, mel = spec.patch
        super().__init__(config, (t, spec.grid[1] * mel, 1), rngs=rngs)
        self.spec = spec

    def __call__(self, stream: TokenStream) -> Vectors | None:
        return self.run(strips(stream, self.spec))


BRANCHES = {"video": VideoBranch, "audio": AudioBranch, "text": TextBranch}


def frame_lstm(config: FrameLstm, spec: StreamSpec, *, rngs: nnx.Rngs) -> LateFusion:
    """Build a CNN + LSTM over time; raises ValueError for an unsupported run."""
    check_run(spec)
    branches = {name: BRANCHES[name](config, getattr(spec, name), rngs=rngs) for name in spec.modalities}
    return LateFusion(config, spec, branches, rngs=rngs)
