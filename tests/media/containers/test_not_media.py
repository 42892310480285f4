"""Files that are no media are told by what they are, from a path and from bytes alike."""

from __future__ import annotations

import numpy as np
import pytest

from mmvideo.media.containers.container import MediaError
from mmvideo.media.decode import decode
from mmvideo.media.encode import encode
from mmvideo.media.probe import probe
from mmvideo.media.transcode import transcode

FILES = {
    "empty": (b"", "it is empty (0 bytes)"),
    "page": (b"\n<!DOCTYPE html><title>404</title>", "it is an HTML page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12\n", "'git lfs pull' fetches"),
    "zip": (b"PK\x03\x04" + bytes(500), "it is a zip archive"),
    "playlist": (b"#EXTM3U\n#EXTINF:1,\nother.ts\n", "it is a playlist"),
    "zeros": (bytes(5000), "its first 5000 bytes are zeros"),
    "text": ("ein Gedicht für dich\n".encode() * 50, "it is text"),
    "noise": (np.random.default_rng(1).bytes(3000), "is it whole, and media?"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read", [probe, decode, transcode])
def test_what_a_file_is_that_is_no_media(tmp_path, name, read):
    content, words = FILES[name]
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(MediaError) as raised:
            read(source)
        assert "cannot be opened as media" in str(raised.value) and words in str(raised.value)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_recording_without_its_end_is_told_with_both_numbers(tmp_path, share):
    """The index of such a file stands at its end, as cameras and FFmpeg write it."""
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    start = content.index(b"mdat") - 4
    length = int.from_bytes(content[start : start + 4], "big")
    size = start + round(share * length)
    path.write_bytes(content[:size])
    words = f"its box 'mdat' at byte {start} has {length} bytes, the file ends after {size - start} of them"
    with pytest.raises(MediaError, match=words):
        probe(path)


def test_a_folder_is_no_plain_file(tmp_path):
    with pytest.raises(MediaError, match="is no plain file"):
        probe(tmp_path)


def test_whole_files_are_opened_as_ever(tmp_path):
    encode(tmp_path / "a.mp4", np.zeros((3, 16, 16, 3), np.uint8), 10)
    assert probe(tmp_path / "a.mp4").frames == 3
