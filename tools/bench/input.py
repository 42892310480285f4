"""Compare the loader with bare decoding: clips per second per core, on the embedded datasets and generated shapes.

COMMAND  python tools/bench/input.py [--rounds 3] [--shapes 96] [--peer] [--json FILE]
COST     1 core, 1 minute; 2 with the peer
NEEDS    for --peer: torch, from `pip install "mmvideo[bench-peer]"`

The loader does everything up to packed rows (read, decode, crop, patch, spectrogram, masks, packing) in its threads.
Bare decoding opens the same clips with PyAV, decodes every frame, converts it to RGB and decodes the audio, in one
thread. Both are counted in processor seconds of this process, so that clips per second per core mean the same on a busy
machine. Rounds of the two alternate in one run, and the median of each counts. The loader keeps no decoded clips
(`input.memory` 0); its speed with kept clips, from the second epoch on, is printed beside. With `--peer` a torch
`DataLoader` over PyAV also takes turns; it produces patches, masks and token ids of the same clips (`torch_loader.py`).

Exit code 1 if the embedded datasets together (`samples:all`) or the shapes are below the target. Each dataset is
printed too. Sounds alone stay far below the target, because half a second of FLAC decodes in less than a millisecond,
faster than its spectrogram is computed.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mmvideo.input.config import Input, Masking, Packing, Source
from mmvideo.input.pipeline import Batches
from mmvideo.stream import padding_fraction

RATE, FULL = 0.75, 0.95
"""Targets: share of bare decoding's speed, and share of token slots that hold tokens (`samples:all`)."""

SAMPLES = ("film", "animations", "sounds", "all")
MASKED = Masking(video=0.5, audio=0.5, text=0.15)


def main() -> int:
    """Measure every dataset; print a line for each, then one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each")
    parser.add_argument("--shapes", type=int, default=96, help="generated clips")
    parser.add_argument("--peer", action="store_true", help="measure a torch DataLoader over PyAV too")
    parser.add_argument("--json", type=Path, help="also write the JSON line to this file")
    options = parser.parse_args()
    machine = f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    print(f"{machine}; {date}")
    sets = [_measure(f"samples:{name}", f"samples:{name}", options.rounds, options.peer) for name in SAMPLES]
    with tempfile.TemporaryDirectory() as folder:
        sets.append(_measure("shapes", _shapes(Path(folder), options.shapes), options.rounds, options.peer))
    line = json.dumps({"bench": "input", "machine": machine, "date": date, "sets": {s.pop("set"): s for s in sets}})
    print(line)
    if options.json:
        options.json.write_text(line + "\n")
    together, shapes = sets[SAMPLES.index("all")], sets[-1]
    return 0 if min(together["ratio"], shapes["ratio"]) >= RATE and together["filled"] >= FULL else 1


def _measure(name: str, path: str, rounds: int, with_peer: bool) -> dict:
    """Return clips per second per core of loader, bare decoding and peer, over one epoch of a dataset."""
    config = Input(sources=(Source(path),), masking=MASKED, packing=Packing(rows=8, clips=24), memory=0)
    batches, keeping = Batches(config), Batches(dataclasses.replace(config, memory=2**30))
    media = [batches.corpus.record(number).media for number in range(len(batches.corpus))]
    peer = _peer(media, batches, config) if with_peer else None
    next(iter(batches.iterate(0, 1)))
    _epoch(keeping, 0, [])
    _decode(media[0])
    loader, kept, theirs, bare, filled = [], [], [], [], []
    for turn in range(rounds):
        loader.append(_epoch(batches, turn, filled))
        kept.append(_epoch(keeping, turn + 1, []))
        if peer is not None:
            started = time.process_time()
            for _ in peer:
                pass
            theirs.append(len(media) / (time.process_time() - started))
        started = time.process_time()
        for clip in media:
            _decode(clip)
        bare.append(len(media) / (time.process_time() - started))
    result = {
        "set": name,
        "clips": len(media),
        "loader_clips_per_second_per_core": round(statistics.median(loader), 1),
        "bare_clips_per_second_per_core": round(statistics.median(bare), 1),
        "kept_clips_per_second_per_core": round(statistics.median(kept), 1),
        "peer_clips_per_second_per_core": round(statistics.median(theirs), 1) if theirs else None,
        "ratio": round(statistics.median(loader) / statistics.median(bare), 3),
        "peer_ratio": round(statistics.median(loader) / statistics.median(theirs), 3) if theirs else None,
        "filled": round(statistics.mean(filled), 4),
        "unreadable": len(batches.skipped),
    }
    print(
        f"{name:20s} loader {result['loader_clips_per_second_per_core']:7.1f}  "
        f"bare {result['bare_clips_per_second_per_core']:7.1f}  ratio {result['ratio']:.2f}  "
        f"slots filled {result['filled']:.3f}  kept in memory {result['kept_clips_per_second_per_core']:7.1f}"
        + (f"  peer {result['peer_clips_per_second_per_core']:7.1f}  ratio {result['peer_ratio']:.2f}" if peer else "")
    )
    return result


def _epoch(batches: Batches, epoch: int, filled: list[float]) -> float:
    """Return clips per second per core of an epoch; append the share of filled token slots to `filled`."""
    started, clips = time.process_time(), 0
    for _, stream in batches.iterate(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
        clips += int((stream.clips.clip_index >= 0).sum())
        filled.append(1 - padding_fraction(stream.layout))
    return clips / (time.process_time() - started)


def _peer(media: list[bytes], batches: Batches, config: Input) -> Any:
    """Return a torch DataLoader of the same clips, with our batch size."""
    try:
        from torch_loader import ClipDataset, loader
    except ImportError as error:
        sys.exit(f'{error}; pip install "mmvideo[bench-peer]"')
    captions, encode = batches.corpus.all_captions(), batches.tokenizer.encode
    dataset = ClipDataset(media, captions, encode, config.video, config.audio, config.masking)
    return loader(dataset, max(1, len(media) // batches.steps_per_epoch))


def _decode(media: bytes) -> None:
    """Decode a whole clip with PyAV: frames to RGB arrays, audio to arrays."""
    import av

    with av.open(io.BytesIO(media)) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux():
            for frame in packet.decode():
                if packet.stream.type == "video":
                    frame.to_ndarray(format="rgb24")
                else:
                    frame.to_ndarray()


def _shapes(folder: Path, clips: int) -> str:
    """Build a corpus of generated shapes."""
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    write_shapes(folder / "clips", ShapesConfig(), splits={"train": clips}, progress=False)
    build(folder / "clips", folder / "corpus", progress=False, tokenizer_vocabulary=200)
    return str(folder / "corpus")


def _processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
