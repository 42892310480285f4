"""Lengths that are estimates, ends, unknown or wrong, in many containers."""

from __future__ import annotations

import io
import re
import struct
from fractions import Fraction

import numpy as np
import pytest

from mmvideo.media.containers.formats import is_open_ended_wav
from mmvideo.media.decode import MediaError, decode
from mmvideo.media.probe import probe


class Pipe:
    """A file that can only be written to, so that no writer goes back to its header."""

    def __init__(self):
        self.bytes = b""

    def write(self, content):
        self.bytes += bytes(content)
        return len(content)


def write(target, format, video, audio, offset=0.0, layout="mono", seconds=2, options=None):
    """Pictures at 25 a second and a tone, both beginning at `offset` seconds."""
    import av

    with av.open(target, "w", format=format, options=options or {}) as container:
        picture = container.add_stream(video, rate=25) if video else None
        sound = container.add_stream(audio, rate=48000, layout=layout) if audio else None
        if picture:
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            picture.codec_context.max_b_frames = 0
            for number in range(seconds * 25):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number + round(offset * 25), Fraction(1, 25)
                container.mux(picture.encode(frame.reformat(format="yuv420p")))
            container.mux(picture.encode(None))
        if sound:
            tone = 0.3 * np.sin(np.arange(seconds * 48000, dtype=np.float32) / 20)
            tone = np.repeat(tone[None], sound.layout.nb_channels, 0)
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, round(offset * 48000), Fraction(1, 48000)
            size = sound.codec_context.frame_size or 1024
            resampler = av.AudioResampler(sound.format, sound.layout, 48000, size)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))
    return target


KINDS = {
    "wav": ("wav", None, "pcm_s16le"),
    "au": ("au", None, "pcm_s16be"),
    "flac": ("flac", None, "flac"),
    "oga": ("ogg", None, "libopus"),
    "mp3": ("mp3", None, "libmp3lame"),
    "aac": ("adts", None, "aac"),
    "wavpack": ("wv", None, "wavpack"),
    "mkv": ("matroska", "libx264", "aac"),
    "webm": ("webm", "libvpx", "libopus"),
    "flv": ("flv", "libx264", "aac"),
    "asf": ("asf", "wmv2", "libmp3lame"),
    "nut": ("nut", "libx264", "aac"),
    "avi": ("avi", "mpeg4", "libmp3lame"),
    "ts": ("mpegts", "libx264", "aac"),
    "mpg": ("mpeg", "mpeg2video", "mp2"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_from_a_pipe_is_whole_and_as_long_as_it_is(kind):
    media = write(Pipe(), *KINDS[kind]).bytes
    clip = decode(media)
    assert clip.damage == ""
    assert clip.seconds == pytest.approx(2.0, abs=0.06) and probe(media).seconds == pytest.approx(2.0, abs=0.06)
    if KINDS[kind][1]:
        # An avi of this muxer holds an empty frame where the sound's delay is.
        assert len(clip.frames) == 50 and probe(media).frames == 50


@pytest.mark.parametrize("kind", ["mkv", "webm", "asf", "nut", "flv", "oga", "ts", "mpg"])
@pytest.mark.parametrize("piped", [False, True])
def test_a_file_that_begins_late_is_no_longer_for_it(kind, piped):
    target = Pipe() if piped else io.BytesIO()
    write(target, *KINDS[kind], offset=3.0)
    media = target.bytes if piped else target.getvalue()
    clip = decode(media)
    assert clip.damage == ""
    assert clip.seconds == pytest.approx(2.0, abs=0.06) and probe(media).seconds == pytest.approx(2.0, abs=0.06)
    part = decode(media, start=1.0)
    assert part.seconds == pytest.approx(1.0, abs=0.06) and part.damage == ""
    with pytest.raises(MediaError, match=r"is [12]\.\d+ s long"):
        decode(media, start=2.5, end=2.7)


def noise_then_silence(format, codec, tmp_path, **options):
    """Three seconds that cost many bits and nine that cost few, so that the first bit rate is not that of all."""
    import av

    path = tmp_path / f"a.{format}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 36000).astype(np.float32)
    samples = np.concatenate([noise, np.zeros(108000, np.float32)])
    with av.open(str(path), "w", format=format, options=options) as container:
        stream = container.add_stream(codec, rate=12000 if codec == "aac" else 24000, layout="mono")
        stream.options = {"q": "4"} if codec == "aac" else {"compression_level": "9"}
        if codec == "aac":
            stream.codec_context.flags |= av.codec.context.Flags.qscale
            stream.codec_context.global_quality = 200
        else:
            stream.codec_context.flags |= av.codec.context.Flags.qscale
            stream.codec_context.global_quality = 118 * 4
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 12000, 0
        resampler = av.AudioResampler(stream.format, "mono", stream.rate, stream.codec_context.frame_size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("source", [("adts", "aac", {}), ("mp3", "libmp3lame", {"write_xing": "0"})])
def test_an_estimate_from_the_first_bit_rate_is_counted(tmp_path, source):
    import av

    path = noise_then_silence(source[0], source[1], tmp_path, **source[2])
    with av.open(str(path)) as container:
        assert abs(container.duration / 1e6 - 12.0) > 1.0  # What FFmpeg guesses.
    assert probe(path).seconds == pytest.approx(12.0, abs=0.2)
    clip = decode(path)
    assert clip.seconds == pytest.approx(12.0, abs=0.2) and clip.damage == ""
    assert decode(path, start=11.0, end=11.5).seconds == pytest.approx(0.5)


def test_mp3_with_a_table_keeps_its_exact_length(make):
    path = make("a.mp3", video=None, format="mp3", audio="libmp3lame", rate=44100)
    assert probe(path).seconds == pytest.approx(2.0, abs=1e-3)
    assert len(decode(path).samples) == 32000


@pytest.mark.parametrize(
    ("kind", "format", "video", "audio"),
    [("wav", "wav", None, "pcm_s16le"), ("mkv", "matroska", "libx264", "aac"), ("avi", "avi", "mpeg4", "pcm_s16le"),
     ("flv", "flv", "libx264", "aac"), ("caf", "caf", None, "pcm_s16le"), ("flac", "flac", None, "flac")],
)  # fmt: skip
def test_a_file_cut_short_names_both_lengths(kind, format, video, audio):
    media = write(io.BytesIO(), format, video, audio).getvalue()
    clip = decode(media[: len(media) // 2])
    # FFmpeg takes what a wav, a caf or an avi declares down to what is there, and marks the packet that is cut.
    declared, cause = (
        (r"\d\.\d+", "1 packet of the sound is marked") if kind in ("wav", "caf", "avi") else ("[12]\\.[09]", "")
    )
    assert re.search(rf"headers declare {declared}.* s, [01]\.\d+ s can be decoded: {cause}", clip.damage), clip.damage


def test_damage_tells_the_track_the_number_and_the_place(make):
    content = bytearray(make("a.mp4", frames=48, textured=True, audio=None).read_bytes())
    middle = len(content) // 2
    content[middle : middle + 6000] = np.random.default_rng(0).bytes(6000)
    assert "of the picture cannot be decoded" in decode(bytes(content)).damage


@pytest.mark.parametrize("length", [0, 0x7FFFF024, 0xFFFFFFFF])
def test_a_wav_of_unknown_length(length):
    """FFmpeg writes 2^32 - 1, sox a little less than 2^31, others nothing."""
    samples = np.arange(16000, dtype=np.int16)
    head = b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVEfmt "
    head += struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    media = head + b"data" + struct.pack("<I", length) + samples.tobytes()
    clip = decode(media)
    assert clip.damage == "" and len(clip.samples) == 16000
    np.testing.assert_allclose(clip.samples, samples / 32768, atol=1e-4)
    assert probe(media).seconds == pytest.approx(1.0)


def test_a_wav_whose_length_is_known_is_not_open_ended():
    head = b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    assert not is_open_ended_wav(head + b"data" + struct.pack("<I", 32000), len(head) + 8 + 32000)
    assert not is_open_ended_wav(head + b"data" + struct.pack("<I", 32000), len(head) + 8 + 16000)  # Cut short.
    assert not is_open_ended_wav(head, len(head)) and not is_open_ended_wav(b"fLaC", 4)
