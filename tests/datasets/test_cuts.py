"""What a build makes of a clip: cuts keep times and geometry, and what is shown is stated and switchable."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.corpus import open_corpus
from mmvideo.datasets.manifests.manifest_row import ManifestRow
from mmvideo.datasets.write_shard import Recipe, read_clip
from mmvideo.media.decode import decode
from mmvideo.media.probe import probe

CLOCK = 100


def write_greys(path: Path, stamps: list[int], *, codec: str = "libx264", aspect: int = 1, options: dict | None = None):
    """Frames of levels 10, 20, 30 … that begin at so many hundredths of a second, `[48, 64]` pixels."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        stream.codec_context.time_base, stream.codec_context.max_b_frames = Fraction(1, CLOCK), 0
        for number, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 + 10 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, CLOCK)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 10) - 1 for frame in frames]


SLIDES = [0, 200, 500, 550, 600]
BURST = [0, *range(400, 463, 3)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
@pytest.mark.parametrize(
    ("stamps", "cut", "numbers", "times"),
    [
        (SLIDES, (0.0, 5.2), [0, 1, 2], [0, 2, 5]),
        (SLIDES, (1.0, 5.6), [0, 1, 2, 3], [0, 1, 4, 4.5]),
        (SLIDES, (2.0, 5.0), [1], [0]),
        (BURST, (1.0, 4.5), list(range(18)), [0, *(3 + 0.03 * n for n in range(17))]),
    ],
)
def test_a_cut_keeps_the_times_of_frames(tmp_path, name, stamps, cut, numbers, times):
    path = write_greys(tmp_path / name, stamps)
    media, suffix, info = read_clip(ManifestRow("a", path, *cut), Recipe())
    clip = decode(media)
    assert suffix == ".mp4" and levels(clip.frames) == numbers
    np.testing.assert_allclose(clip.times, times, atol=2e-3)
    assert info.seconds == pytest.approx(cut[1] - cut[0], abs=5e-3)
    # Whatever instant is asked for, cut and file show the same.
    instants = np.arange(0.05, cut[1] - cut[0], 0.11)
    assert levels(decode(media, times=instants).frames) == levels(decode(path, start=cut[0], times=instants).frames)


def test_a_cut_at_a_rate_is_on_its_grid(tmp_path):
    path = write_greys(tmp_path / "a.mp4", SLIDES)
    clip = decode(read_clip(ManifestRow("a", path, 1.0, 5.6), Recipe(fps=2.0))[0])
    np.testing.assert_allclose(clip.times, np.arange(10) / 2, atol=1e-3)
    assert levels(clip.frames) == [0, 0, 1, 1, 1, 1, 1, 1, 2, 3]


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(short_side=24), Recipe(gop=2), Recipe(fps=10.0)])
@pytest.mark.parametrize("cut", [(None, None), (0.2, 0.8)])
def test_geometry_hangs_on_no_other_setting(tmp_path, recipe, cut):
    path = write_greys(tmp_path / "a.mp4", list(range(0, 100, 4)), aspect=2)
    media, _, info = read_clip(ManifestRow("a", path, *cut), recipe)
    scale = 24 / 48 if recipe.short_side else 1
    assert (info.height, info.width) == (48 * scale, 128 * scale)
    assert decode(media).frames.shape[1:3] == (48 * scale, 128 * scale)


INTERLACED = {"x264-params": "interlaced=1"}


def test_how_pictures_are_shown_is_stated_and_switchable(tmp_path):
    (tmp_path / "clips").mkdir()
    write_greys(tmp_path / "clips" / "a.mp4", list(range(0, 100, 4)), options=INTERLACED)
    build(tmp_path / "clips", tmp_path / "usual", progress=False, processes=1)
    build(tmp_path / "clips", tmp_path / "raw", deinterlace=False, tone_map=False, progress=False, processes=1)
    for name, on in (("usual", True), ("raw", False)):
        record = json.loads((tmp_path / name / "build.json").read_text(encoding="utf-8"))
        assert record["pictures"] == {"deinterlace": on, "tone_map": on}
        assert record["sources"] == {"interlaced": 1, "hdr": 0}
        corpus = open_corpus(tmp_path / name, "train")
        assert corpus.pictures == corpus[0].pictures == record["pictures"]
        assert probe(corpus[0].media).frames == 25
