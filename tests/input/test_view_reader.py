"""A reader shows the pictures of a corpus as its build was told to."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

from mmvideo.datasets.build import build
from mmvideo.datasets.corpus import open_corpus
from mmvideo.input.annotations.captions import no_captions
from mmvideo.input.config import DropToken, Input, Masking, Video, Views
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning.token_counts import clip_sizes
from mmvideo.input.rng import clip_rngs
from mmvideo.input.view_reader import ViewReader

CONFIG = Input(video=Video(fps=5.0, frames=4, size=64, tubelet=(2, 16, 16)), audio=None, text=None)


def write_combed(path: Path) -> None:
    """An interlaced second of `[64, 64]`, whose even lines are dark and whose odd ones are bright."""
    import av

    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[1::2] = 200
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "interlaced=1", "crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(25):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def read(corpus: Path) -> np.ndarray:
    mixture = CorpusMixture([open_corpus(corpus, "train")])
    tracks = mixture.has_video, mixture.has_audio
    sizes = clip_sizes(mixture.seconds, *tracks, no_captions(1), CONFIG, Masking(), DropToken())
    reader = ViewReader(mixture, sizes, CONFIG, False, Views())
    return reader.read(0, (True, False), clip_rngs(0, False, (0, 0))).frames


def test_fields_are_shown_as_the_build_was_told(tmp_path):
    (tmp_path / "clips").mkdir()
    write_combed(tmp_path / "clips" / "a.mp4")
    build(tmp_path / "clips", tmp_path / "whole", progress=False, processes=1)
    build(tmp_path / "clips", tmp_path / "fields", deinterlace=False, progress=False, processes=1)
    whole, fields = (read(tmp_path / name).astype(int)[..., 1] for name in ("whole", "fields"))
    assert np.abs(np.diff(fields, axis=1)).mean() > 120
    assert np.abs(np.diff(whole, axis=1)).mean() < 5
    assert min(abs(whole.mean() - 40), abs(whole.mean() - 200)) < 6  # One field stays.
