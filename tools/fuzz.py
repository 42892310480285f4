"""Damage real clips of every container and codec that PyAV writes, and read the results in processes with limits.

COMMAND  python tools/fuzz.py --files 2000 --seed 1
COST     2 CPU cores, about 3 files per second and process
EXPECTS  0 crashes, 0 hangs, a peak under 1.5 GB, only `MediaError`; exit code 1 otherwise

Each file is a whole clip (see `SOURCES`) with one to six faults: bytes flipped or overwritten, a range doubled,
removed or zeroed, the end cut off, a four-byte field set to an extreme value. It is probed, decoded whole and in part,
from a path and from bytes, transcoded, and read as the loader reads audio. A seed gives the same files on every machine
with the same encoders.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

SOURCES = {
    "h264.mp4": ("mp4", "libx264", "aac"),
    "hevc.mp4": ("mp4", "libx265", "flac"),
    "av1.mp4": ("mp4", "libsvtav1", "libopus"),
    "mpeg4.mov": ("mov", "mpeg4", "pcm_s16le"),
    "h264.3gp": ("3gp", "libx264", "aac"),
    "mjpeg.mov": ("mov", "mjpeg", None),
    "h264.mkv": ("matroska", "libx264", "flac"),
    "ffv1.mkv": ("matroska", "ffv1", "pcm_f32le"),
    "vp8.webm": ("webm", "libvpx", "libopus"),
    "vp9.webm": ("webm", "libvpx-vp9", "libopus"),
    "mpeg4.avi": ("avi", "mpeg4", "libmp3lame"),
    "mjpeg.avi": ("avi", "mjpeg", "pcm_s16le"),
    "h264.flv": ("flv", "libx264", "aac"),
    "wmv.asf": ("asf", "wmv2", "wmav2"),
    "mpeg2.nut": ("nut", "mpeg2video", "aac"),
    "h264.ts": ("mpegts", "libx264", "aac"),
    "mpeg2.ts": ("mpegts", "mpeg2video", "mp2"),
    "mpeg2.mpg": ("mpeg", "mpeg2video", "mp2"),
    "mpeg2.vob": ("vob", "mpeg2video", "ac3"),
    "mpeg2.mxf": ("mxf", "mpeg2video", "pcm_s16le"),
    "vp8.ogv": ("ogg", "libvpx", "libopus"),
    "a.gif": ("gif", "gif", None),
    "a.wav": ("wav", None, "pcm_s16le"),
    "float.wav": ("wav", None, "pcm_f32le"),
    "adpcm.wav": ("wav", None, "adpcm_ms"),
    "a.w64": ("w64", None, "pcm_s16le"),
    "a.aiff": ("aiff", None, "pcm_s16be"),
    "a.au": ("au", None, "pcm_s16be"),
    "a.caf": ("caf", None, "pcm_s16le"),
    "a.flac": ("flac", None, "flac"),
    "a.oga": ("ogg", None, "flac"),
    "a.opus": ("ogg", None, "libopus"),
    "a.mp3": ("mp3", None, "libmp3lame"),
    "a.aac": ("adts", None, "aac"),
    "a.m4a": ("ipod", None, "alac"),
    "a.ac3": ("ac3", None, "ac3"),
    "a.mp2": ("mp2", None, "mp2"),
    "a.tta": ("tta", None, "tta"),
    "a.wv": ("wv", None, "wavpack"),
}
"""Container, video codec and audio codec of each undamaged clip; those that this PyAV cannot write are reported."""

EXTREMES = (bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
"""Four-byte values that are written into headers."""

MEMORY = 4 << 30
"""Address space of a process, in bytes; libraries and threads take one of the four GiB before a file is read."""

PEAK = 1536 << 20
"""Peak memory of a process, in bytes."""

PATIENCE = 30.0
"""Seconds after which a file counts as a hang."""


IMPORTS = 60.0
"""Additional seconds for a new process."""


def write_source(path: Path, format: str, video: str | None, audio: str | None) -> None:
    """Write a second of moving stripes and of a tone."""
    import av
    import numpy as np

    with av.open(str(path), "w", format=format) as container:
        picture = container.add_stream(video, rate=25) if video else None
        layout = "stereo" if audio == "wmav2" else "mono"
        sound = container.add_stream(audio, rate=48000, layout=layout) if audio else None
        if sound is not None and audio == "wmav2":
            sound.bit_rate = 128000
        if picture is not None:
            picture.width, picture.height = 96, 64
            picture.pix_fmt = {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(video, "yuv420p")
            picture.codec_context.gop_size, picture.codec_context.thread_count = 8, 1
            if video == "libx265":
                picture.options = {"x265-params": "log-level=none:pools=1", "preset": "ultrafast"}
            for number in range(25):
                pixels = np.roll(np.arange(96, dtype=np.uint8) * 2, 3 * number)[None, :, None]
                pixels = np.broadcast_to(pixels, (64, 96, 3)).copy()
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=picture.pix_fmt)
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(picture.encode(frame))
            container.mux(picture.encode(None))
        if sound is not None:
            tone = (0.3 * np.sin(np.arange(48000) / 20)).astype(np.float32)
            tone = np.repeat(tone[None], sound.layout.nb_channels, 0)
            frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
            size = sound.codec_context.frame_size or 1024
            resampler = av.AudioResampler(sound.format, sound.layout, 48000, size)
            for piece in [*resampler.resample(frame), *resampler.resample(None)]:
                container.mux(sound.encode(piece))
            container.mux(sound.encode(None))


def damage(content: bytes, rng: random.Random) -> bytes:
    """Return a copy of a file with one to six faults, half of them in its first two kilobytes, where headers are."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        if len(changed) < 16:
            break
        reach = min(len(changed), 2048) if rng.random() < 0.5 else len(changed)
        at = rng.randrange(reach - 8)
        length = rng.randint(1, min(4096, len(changed) - at))
        match rng.randrange(7):
            case 0:
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                changed[at : at + length % 64] = rng.randbytes(length % 64)
            case 2:
                changed[at:at] = changed[at : at + length]
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at : at + length] = bytes(length)
            case 5:
                del changed[rng.randrange(8, len(changed)) :]
            case 6:
                changed[at : at + 4] = rng.choice(
                    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"]
                )
    return bytes(changed)


def read_in_every_way(path: Path) -> dict[str, str]:
    """Return the outcome of each way to read a file: `fine`, `MediaError`, or a forbidden outcome."""
    from mmvideo.input import view_reader
    from mmvideo.media.containers.container import MediaError
    from mmvideo.media.decode import decode
    from mmvideo.media.probe import probe
    from mmvideo.media.transcode import transcode

    content = path.read_bytes()
    ways = {
        "probe": lambda: probe(path),
        "decode": lambda: decode(path, short_side=32),
        "part": lambda: decode(content, start=0.4, end=0.8, fps=10, size=(32, 32)),
        "times": lambda: decode(content, times=[0.0, 0.3, 0.9], size=(32, 32), audio=False),
        "loader": lambda: view_reader._hear(content, 0.2, 0.5, 16000),
        "transcode": lambda: transcode(path, short_side=32, gop=4),
    }
    out = {}
    for way, read in ways.items():
        try:
            read()
            out[way] = "fine"
        except MediaError as error:
            out[way] = "MediaError" if str(error).startswith((str(path), "media of")) else f"names no file: {error}"
        except Exception as error:
            out[way] = f"{type(error).__name__}: {str(error)[:120]}"
    return out


def work(tasks: multiprocessing.Queue, results: multiprocessing.Queue) -> None:
    """Read files one after another, and name each before reading it; a file that crashes ends the process."""
    import av

    av.logging.set_level(None)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while (task := tasks.get()) is not None:
        results.put((task, read_in_every_way(Path(task)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))


def read_all(paths: list[Path]) -> tuple[Counter, list[str], int]:
    """Read every file in a process with limits; return counts of outcomes, forbidden outcomes, and peak bytes."""
    context, outcomes, wrong, peak = multiprocessing.get_context("spawn"), Counter(), [], 0
    process = tasks = results = None
    for path in paths:
        if process is None:
            tasks, results = context.Queue(), context.Queue()
            process = context.Process(target=work, args=(tasks, results), daemon=True)
            process.start()
            slack = IMPORTS
        tasks.put(str(path))
        began = time.monotonic()
        while results.empty() and process.is_alive() and time.monotonic() - began < PATIENCE + slack:
            time.sleep(0.002)
        slack = 0.0
        if not results.empty():
            _, ways, memory = results.get()
            outcomes.update(ways.values())
            wrong += [f"{path.name}: {way}: {what}" for way, what in ways.items() if what not in ("fine", "MediaError")]
            if memory > PEAK:
                wrong.append(f"{path.name}: the process holds {memory >> 20} MB")
            peak = max(peak, memory)
            if memory <= PEAK:
                continue
        else:
            process.join(1.0)
            what = f"hangs for {PATIENCE:g} s" if process.is_alive() else f"ends the process ({process.exitcode})"
            wrong.append(f"{path.name}: {what}")
        process.kill()
        process = None
    if process is not None:
        tasks.put(None)
        process.join(5.0)
        process.kill()
    return outcomes, wrong, peak


def main(arguments: list[str] | None = None) -> int:
    """Write, damage and read the files; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="damaged files (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults (default: 0)")
    parser.add_argument("--keep", type=Path, help="folder for the files with a forbidden outcome")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sources = write_sources(Path(folder))
        rng, paths = random.Random(options.seed), []
        for number in range(options.files):
            name = rng.choice(sorted(sources))
            paths.append(Path(folder) / f"{number:05d}.{name}")
            paths[-1].write_bytes(damage(sources[name], rng))
        outcomes, wrong, peak = read_all(paths)
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for name in {line.split(":")[0] for line in wrong}:
                (options.keep / name).write_bytes((Path(folder) / name).read_bytes())
    counts = {"fine": outcomes["fine"], "MediaError": outcomes["MediaError"], "wrong": len(wrong)}
    told = {"files": options.files, "seed": options.seed, "sources": len(sources), "peak_mb": peak >> 20}
    print(json.dumps(told | counts))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


def write_sources(folder: Path) -> dict[str, bytes]:
    """Write the undamaged clips and return them by name; print those that this PyAV cannot write."""
    import av

    sources = {}
    for name, (format, video, audio) in SOURCES.items():
        path = folder / name
        try:
            write_source(path, format, video, audio)
        except (av.error.FFmpegError, ValueError) as error:
            print(f"left out {name}: {error}", file=sys.stderr)
            continue
        sources[name] = path.read_bytes()
    return sources


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    sys.exit(main())
