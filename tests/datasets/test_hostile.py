"""Folders of ordinary and hostile files: what is left out is counted, named and given its reason."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from mmvideo.cli.main import main
from mmvideo.datasets.build import BuildError, build
from mmvideo.datasets.manifests.manifest import read_manifest
from mmvideo.datasets.manifests.manifest_reader import ManifestError
from mmvideo.media.config import Limits
from mmvideo.media.encode import encode


def wav(path, rate=16000, samples=16000, value=0.25, wrong=None):
    """A wav of floats."""
    content = np.full(samples, value, np.float32)
    if wrong is not None:
        content[samples // 2] = wrong
    fmt = struct.pack("<IHHIIHH", 16, 3, 1, rate, 4 * rate, 4, 32)
    path.write_bytes(b"RIFF\0\0\0\0WAVEfmt " + fmt + b"data" + struct.pack("<I", 4 * samples) + content.tobytes())
    return path


def gif(path, width, height):
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + bytes(6)
    path.write_bytes(head + b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\0;")


def test_a_build_names_every_limit_and_goes_on(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    encode(folder / "good.mp4", np.zeros((10, 48, 64, 3), np.uint8), 10)
    gif(folder / "bomb.gif", 16000, 16000)
    wav(folder / "slow.wav", rate=1)
    wav(folder / "long.wav", samples=160000)
    wav(folder / "nan.wav", wrong=np.nan)
    wav(folder / "infinite.wav", wrong=np.inf)
    summary = build(folder, tmp_path / "corpus", processes=1, progress=False, limits=Limits(seconds=8.0))
    lines = (tmp_path / "corpus" / "skipped.jsonl").read_text().split("\n")[:-1]
    reasons = {entry["id"]: entry["reason"] for entry in map(json.loads, lines)}
    assert summary.clips == 1 and set(reasons) == {"bomb", "slow", "long", "nan", "infinite"}
    assert "16000 x 16000 pixels" in reasons["bomb"] and "1 samples a second" in reasons["slow"]
    assert "lasts 10.000 s, more than the limit of 8 s" in reasons["long"]
    assert "1 sample is no finite number" in reasons["nan"] and "1 sample is no finite" in reasons["infinite"]


def silence(path, hours):
    """Silence in AAC, which says its length nowhere: one frame of 13 or so bytes again and again."""
    import av

    with av.open(str(path), "w", format="adts") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8192), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    content = path.read_bytes()
    # The length of an ADTS frame stands in 13 bits from bit 30 on.
    length = int.from_bytes(content[3:6], "big") >> 5 & 0x1FFF
    last = content[length:]
    size = int.from_bytes(last[3:6], "big") >> 5 & 0x1FFF
    path.write_bytes(content[:length] + last[:size] * round(hours * 3600 * 8000 / 1024))


def peak_mebibytes() -> float:
    """Return the most memory that this process has held since the peak was last reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def test_ten_hours_of_silence_are_named_and_take_no_memory(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    encode(folder / "good.mp4", np.zeros((10, 48, 64, 3), np.uint8), 10)
    silence(folder / "silence.aac", 10)
    # Linux forgets the peak of before, which in a process of many tests could hide any other.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mebibytes()
    summary = build(folder, tmp_path / "corpus", processes=1, progress=False)
    ((name, reason),) = summary.skipped
    assert name == "silence" and "more than the limit of 28800 s" in reason
    assert peak_mebibytes() - before < 300


@pytest.mark.slow(reason="decodes two hours of audio: shorter, its samples would not stand out in the memory")
def test_long_sound_is_checked_in_little_memory(tmp_path):
    """Two hours at 16 kHz are 460 MB of samples."""
    folder = tmp_path / "clips"
    folder.mkdir()
    silence(folder / "silence.aac", 2)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_mebibytes()
    assert build(folder, tmp_path / "corpus", processes=1, progress=False).clips == 1
    assert peak_mebibytes() - before < 250


def test_a_long_cut_is_refused_before_it_takes_more_than_the_limit(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    wav(folder / "a.wav", samples=160000)
    (folder / "manifest.jsonl").write_text(
        '{"id": "long", "media": "a.wav", "start": 1}\n{"id": "short", "media": "a.wav", "end": 1}\n'
    )
    limits = Limits(frame_bytes=300_000)
    summary = build(folder, tmp_path / "corpus", processes=1, progress=False, limits=limits)
    ((name, reason),) = summary.skipped
    assert name == "long" and "samples take more than the limit of 300000 bytes" in reason and "a.wav" in reason


def test_a_cut_and_a_transcoded_clip_keep_to_the_limits_too(tmp_path):
    folder, out = tmp_path / "clips", tmp_path / "corpus"
    folder.mkdir()
    encode(folder / "good.mp4", np.zeros((10, 48, 64, 3), np.uint8), 10)
    times = np.array([0.0, 1.0, 9.0])
    encode(folder / "gap.mp4", np.zeros((3, 48, 64, 3), np.uint8), None, times=times, seconds=10.0)
    (folder / "manifest.jsonl").write_text(
        '{"id": "good", "media": "good.mp4"}\n{"id": "whole", "media": "gap.mp4"}\n'
        '{"id": "cut", "media": "gap.mp4", "start": 0.5, "end": 9.5}\n'
    )
    settings = dict(processes=1, progress=False, short_side=32)
    summary = build(folder, out, limits=Limits(gap=5.0), **settings)
    assert [name for name, _ in summary.skipped] == ["whole", "cut"]
    assert all("s, more than the limit of 5 s" in reason for _, reason in summary.skipped)
    assert json.loads((out / "build.json").read_text())["settings"]["limit_gap"] == 5.0
    with pytest.raises(BuildError, match="limit_gap"):
        build(folder, out, **settings)
    assert build(folder, tmp_path / "wide", **settings).clips == 3


@pytest.mark.parametrize("where", ["../outside.wav", "inside/../../outside.wav", "absolute"])
def test_media_outside_of_the_manifest_needs_leave(tmp_path, where, capsys):
    folder = tmp_path / "clips"
    (folder / "inside").mkdir(parents=True)
    outside = wav(tmp_path / "outside.wav")
    media = str(outside) if where == "absolute" else where
    (folder / "manifest.jsonl").write_text(json.dumps({"id": "a", "media": media}) + "\n")
    with pytest.raises(ManifestError, match=r"manifest.jsonl:1: the file .* lies outside of .*--allow-outside"):
        read_manifest(folder)
    assert len(read_manifest(folder, allow_outside=True)) == 1
    arguments = ["data", "build", str(folder), str(tmp_path / "corpus"), "--processes", "1"]
    assert main(arguments) == 2
    assert main([*arguments, "--allow-outside"]) == 0


def test_files_left_out_are_counted_and_named(tmp_path, capsys):
    folder = tmp_path / "clips"
    folder.mkdir()
    wav(folder / "a.wav")
    for name in ("b.mp5", "notes.txt", "README.md", "LICENSE", ".hidden"):
        (folder / name).write_text("x")
    assert main(["data", "build", str(folder), str(tmp_path / "corpus"), "--processes", "1"]) == 0
    told = "left out 2 files that don't end as media do: b.mp5, notes.txt"
    assert told in capsys.readouterr().out
    record = json.loads((tmp_path / "corpus" / "build.json").read_text())
    assert record["left_out"] == ["b.mp5", "notes.txt"]
    # A build that is there already tells the same.
    assert main(["data", "build", str(folder), str(tmp_path / "corpus"), "--processes", "1"]) == 0
    assert told in capsys.readouterr().out


def test_links_that_are_not_followed_are_named(tmp_path, capsys):
    """A link to a folder, to its own folder (a loop), to nothing; one to a file is that file."""
    folder, elsewhere = tmp_path / "clips", tmp_path / "elsewhere"
    (folder / "cat").mkdir(parents=True)
    elsewhere.mkdir()
    wav(folder / "cat" / "a.wav")
    wav(elsewhere / "b.wav")
    (folder / "dog").symlink_to(elsewhere)
    (folder / "cat" / "loop").symlink_to(folder / "cat")
    (folder / "cat" / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    (folder / "cat" / "b.wav").symlink_to("a.wav")
    summary = build(folder, tmp_path / "corpus", processes=1, progress=False)
    assert summary.clips == 2 and summary.left_out == ["cat/gone.wav", "cat/loop", "dog"]


@pytest.mark.parametrize("ending", [".mts", ".m2ts", ".vob", ".mxf", ".asf", ".mka", ".amr", ".MTS"])
def test_endings_of_cameras_discs_and_recorders(tmp_path, ending):
    (tmp_path / f"a{ending}").write_bytes(b"x")
    assert [row.id for row in read_manifest(tmp_path)] == ["a"]
