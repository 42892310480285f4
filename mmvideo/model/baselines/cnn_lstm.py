"""The late-fusion CNN + LSTM of introductions to the field: a CNN of frames, a CNN of audio, an LSTM of text."""

from __future__ import annotations

from flax import nnx

from mmvideo.model.baselines.canvas import frames, spectrograms
from mmvideo.model.baselines.config import CnnLstm
from mmvideo.model.baselines.convolution import ImageEncoder
from mmvideo.model.baselines.late_fusion import LateFusion, TextBranch, Vectors, check_run, mean_present
from mmvideo.stream import PatchSpec, StreamSpec, TokenStream


class FramesBranch(nnx.Module):
    """The mean over the vectors of a clip's frames; it ignores their order."""

    def __init__(self, config: CnnLstm, spec: PatchSpec, *, rngs: nnx.Rngs):
        self.config, self.spec = config, spec
        _, y, x, colours = spec.patch
        size = (spec.grid[1] * y, spec.grid[2] * x, colours)
        self.encode = ImageEncoder(size, config.channels, config.width, rngs=rngs)

    def __call__(self, stream: TokenStream) -> Vectors | None:
        found = frames(stream, self.spec)
        if found is None:
            return None
        images, present = found
        vectors = self.encode(images.astype(self.config.compute))
        return mean_present(vectors, present)[:, :, None], present.any(axis=-1, keepdims=True)


class SpectrogramBranch(nnx.Module):
    """A CNN of the whole spectrogram as one image."""

    def __init__(self, config: CnnLstm, spec: PatchSpec, *, rngs: nnx.Rngs):
        self.config, self.spec = config, spec
        (steps, bands, _), (t, mel) = spec.grid, spec.patch
        self.encode = ImageEncoder((steps * t, bands * mel, 1), config.channels, config.width, rngs=rngs)

    def __call__(self, stream: TokenStream) -> Vectors | None:
        found = spectrograms(stream, self.spec)
        if found is None:
            return None
        images, present = found
        return self.encode(images.astype(self.config.compute)), present


BRANCHES = {"video": FramesBranch, "audio": SpectrogramBranch, "text": TextBranch}


def cnn_lstm(config: CnnLstm, spec: StreamSpec, *, rngs: nnx.Rngs) -> LateFusion:
    """Build a late-fusion CNN + LSTM; raises ValueError for an unsupported run."""
    check_run(spec)
    branches = {name: BRANCHES[name](config, getattr(spec, name), rngs=rngs) for name in spec.modalities}
    return LateFusion(config, spec, branches, rngs=rngs)
