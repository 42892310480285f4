"""Sound of any layout, and sound that is not all numbers, next to pictures that must come out."""

from __future__ import annotations

import io

import numpy as np
import pytest

from mmvideo.media.decode import decode
from mmvideo.media.remix import Mixer
from mmvideo.media.transcode import transcode

LAYOUTS = {
    "7.1": 8, "7.1.4": 12, "22.2": 24, "binaural": 2, "ambisonic 1": 4, "ambisonic 2": 9, "9 channels": 9,
    "32 channels": 32,
}  # fmt: skip
"""Layouts and their numbers of channels."""


def write(samples, format, codec, sample_format, layout, pictures=0):
    """A file of samples `[S, channels]` at 16 kHz, with so many grey pictures at 10 a second."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=16000, layout=layout)
        if pictures:
            picture = container.add_stream("libx264", rate=10)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            for number in range(pictures):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 8 + 5 * number, np.uint8), format="rgb24")
                container.mux(picture.encode(frame.reformat(format="yuv420p")))
            container.mux(picture.encode(None))
        for at in range(0, len(samples), 1000):
            piece = np.ascontiguousarray(samples[at : at + 1000])
            frame = av.AudioFrame(format=sample_format, layout=layout, samples=len(piece))
            np.frombuffer(frame.planes[0], piece.dtype)[: piece.size] = piece.reshape(-1)
            frame.sample_rate, frame.pts = 16000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("format", ["flt", "s16", "dbl"])
def test_every_layout_gives_sound(layout, format):
    """All channels the same: whatever the weights, they add up to one."""
    import av

    dtype, scale = {"flt": (np.float32, 0.25), "s16": (np.int16, 8192), "dbl": (np.float64, 0.25)}[format]
    mixer, out = Mixer("mono", 16000), []
    for _ in range(4):
        frame = av.AudioFrame(format=format, layout=layout, samples=1000)
        np.frombuffer(frame.planes[0], dtype)[: 1000 * LAYOUTS[layout]] = scale
        frame.sample_rate = 16000
        out += mixer.mix(frame)
    out += mixer.flush()
    samples = np.concatenate([np.frombuffer(f.planes[0], np.float32, f.samples) for f in out])
    assert len(samples) == 4000 and mixer.repaired == 0
    np.testing.assert_allclose(samples, 0.25, atol=1e-4)


@pytest.mark.parametrize("channels", [9, 32])
def test_a_film_with_channels_beyond_mixing_keeps_its_picture_and_its_sound(read_numbers, channels):
    levels = np.linspace(0, 8000, channels).astype(np.int16)
    samples = np.repeat(levels[None], 16000, 0)
    media = write(samples, "matroska", "pcm_s16le", "s16", f"{channels} channels", pictures=10)
    for content in (media, transcode(media)):
        clip = decode(content)
        assert read_numbers(clip.frames) == list(range(10))
        assert clip.damage == ""
        np.testing.assert_allclose(clip.samples[4000:12000], levels.mean() / 32768, atol=6e-3)


def test_a_wav_of_nine_channels_is_their_mean():
    samples = np.zeros((16000, 9), np.int16)
    samples[:, 4] = 9000
    clip = decode(write(samples, "wav", "pcm_s16le", "s16", "9 channels"))
    assert len(clip.samples) == 16000 and clip.damage == ""
    np.testing.assert_allclose(clip.samples, 1000 / 32768, atol=1e-4)


def test_ambisonic_opus(tmp_path):
    """Four channels of mapping family 2 (RFC 8486)."""
    import av

    with av.open(str(tmp_path / "a.opus"), "w", format="ogg") as container:
        options = {"mapping_family": "2"}
        stream = container.add_stream("libopus", rate=48000, layout="ambisonic 1", options=options)
        tone = (0.4 * np.sin(np.arange(48000) / 20)).astype(np.float32)
        for at in range(0, 48000, 960):
            frame = av.AudioFrame(format="flt", layout="ambisonic 1", samples=960)
            np.frombuffer(frame.planes[0], np.float32)[: 960 * 4] = np.repeat(tone[at : at + 960], 4)
            frame.sample_rate, frame.pts = 48000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    clip = decode(tmp_path / "a.opus")
    assert clip.damage == "" and len(clip.samples) == 16000
    assert np.abs(clip.samples).max() == pytest.approx(0.4, abs=0.06)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize(
    ("format", "codec", "sample_format", "layout"),
    [
        ("wav", "pcm_f32le", "flt", "mono"),
        ("wav", "pcm_f64le", "dbl", "stereo"),
        ("matroska", "pcm_f32le", "flt", "5.1"),
        ("w64", "pcm_f32le", "flt", "9 channels"),
    ],
)
def test_samples_that_are_no_numbers_are_silence_and_told(wrong, format, codec, sample_format, layout):
    import av

    channels = av.AudioLayout(layout).nb_channels
    samples = np.full((16000, channels), 0.5, np.float64 if sample_format == "dbl" else np.float32)
    samples[8000, channels - 1] = wrong
    media = write(samples, format, codec, sample_format, layout)
    for rate in (16000, 8000):
        clip = decode(media, sample_rate=rate)
        assert np.isfinite(clip.samples).all() and "1 sample is no finite number" in clip.damage
        far = np.delete(clip.samples, np.s_[rate // 2 - 100 : rate // 2 + 100])[50:-50]
        np.testing.assert_allclose(far, 0.5, atol=1e-3)
    assert decode(media, end=0.25).damage == ""


def test_a_stream_that_changes_its_layout_goes_on():
    import av

    mixer, length = Mixer("mono", 16000), 0
    for layout, rate in (("mono", 16000), ("stereo", 48000), ("9 channels", 16000), ("mono", 16000)):
        frame = av.AudioFrame(format="s16", layout=layout, samples=rate)
        np.frombuffer(frame.planes[0], np.int16)[:] = 0
        frame.sample_rate = rate
        length += sum(piece.samples for piece in mixer.mix(frame))
    length += sum(piece.samples for piece in mixer.flush())
    assert length == pytest.approx(64000, abs=20)
