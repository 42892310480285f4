"""The loader against bare decoding: clips a second a core, on the sample sets and on generated shapes.

COMMAND  python tools/bench/input.py [--rounds 3] [--shapes 96] [--peer] [--json FILE]
COST     1 core, 1 minute; 2 with the peer
NEEDS    for --peer what `pip install "mmvideo[bench-peer]"` brings: torch

The loader does everything up to packed rows (read, decode, crop, patch, spectrogram, masks, weave),
through its threads; bare decoding opens the same clips with PyAV, decodes every frame and converts
it to RGB, and decodes the sound, one thread and nothing else. Both are counted in processor seconds
of this process, so that a clip a second a core means the same on a busy machine. Rounds of the two
alternate in one run, and the middle one of each counts. The loader keeps no decoded clips (`input.memory` 0);
what it does where it may is printed beside it, from the second epoch on. With `--peer` a torch `DataLoader` over PyAV
takes its turn, which makes patches, masks and token ids of the same clips too (`torch_loader.py`).

Exit code 1 if the sample sets together (`samples:all`) or the shapes are below the target. The parts
are printed too; sounds alone stay far below it, since half a second of FLAC decodes in less than a
millisecond, in less time than its spectrogram takes.
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
    """Measures every set and prints a line for each, then one of JSON."""
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
    """Clips a second a core of the loader, of bare decoding and of the peer, over one epoch of a set."""
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
    """Clips a second a core of an epoch; how full its rows are is added to `filled`."""
    started, clips = time.process_time(), 0
    for _, stream in batches.iterate(epoch * batches.steps_per_epoch, (epoch + 1) * batches.steps_per_epoch):
        clips += int((stream.clips.clip_index >= 0).sum())
        filled.append(1 - padding_fraction(stream.layout))
    return clips / (time.process_time() - started)


def _peer(media: list[bytes], batches: Batches, config: Input) -> Any:
    """A torch DataLoader of the same clips, in batches of as many as ours have."""
    try:
        from torch_loader import ClipDataset, loader
    except ImportError as error:
        sys.exit(f'{error}; pip install "mmvideo[bench-peer]"')
    captions, encode = batches.corpus.all_captions(), batches.tokenizer.encode
    dataset = ClipDataset(media, captions, encode, config.video, config.audio, config.masking)
    return loader(dataset, max(1, len(media) // batches.steps_per_epoch))


def _decode(media: bytes) -> None:
    """Everything of a clip, as PyAV gives it: frames to RGB arrays, sound to arrays."""
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
    """A corpus of generated shapes."""
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    write_shapes(folder / "clips", ShapesConfig(), splits={"train": clips}, progress=False)
    build(folder / "clips", folder / "corpus", progress=False, tokenizer_vocabulary=200)
    return str(folder / "corpus")


def _processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
