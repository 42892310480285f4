"""Writes sounding shapes as mp4 files with a manifest: parallel, deterministic, resumable."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import contextlib
import dataclasses
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mmvideo.datasets.shapes.attributes import Attributes
from mmvideo.datasets.shapes.clips import Shapes
from mmvideo.datasets.shapes.config import ShapesConfig

SETTINGS = "shapes.json"


CRF, BITRATE = 28, 32000
"""Quality of H.264 and bits a second of AAC: coarser than `encode` by itself, since small clips are read often."""


def write_shapes(
    out_dir: str | os.PathLike,
    config: ShapesConfig,
    splits: Mapping[str, int] | None = None,
    processes: int | None = None,
    progress: bool = False,
) -> Path:
    """Writes `clips/SPLIT-NUMBER.mp4`, `shapes.json` (the settings) and, last of all, `manifest.jsonl`.

    A clip appears under its name only when it is whole, and the manifest only when every clip is there. Run again, it
    keeps the clips that are whole; a folder of other settings is refused, since its clips would be mixed up.

    Args:
        out_dir: folder to write, made if it isn't there.
        config: what the clips are like.
        splits: clips in each split; by default 2000 to train on and 512 to test.
        processes: processes side by side; None is one a core, 1 stays in this process.
        progress: whether to draw a progress bar.

    Returns:
        The manifest's path.

    Raises:
        ValueError: a split without a usable name or number, or a folder that holds clips of other settings.
        OSError: the folder can't be written, or a process died.
    """
    splits = {"train": 2000, "test": 512} if splits is None else splits
    for name, count in splits.items():
        if not name.replace("_", "").replace("-", "").isalnum() or count < 0:
            raise ValueError(f"shapes: split {name!r} with {count} clips; use letters, digits, - and _, and 0 or more")
    out = Path(out_dir)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    _claim(out / SETTINGS, config)
    shapes = Shapes(config)
    clips = [clip for name, count in splits.items() for clip in shapes.draw(name, count)]
    rows = [shapes.row(clip) for clip in clips]
    missing = [clip for clip, row in zip(clips, rows, strict=True) if not is_whole(out / row["media"])]
    with _bar(len(clips), len(clips) - len(missing), progress) as advance:
        for _ in _each_written(out, config, missing, processes):
            advance()
    manifest = out / "manifest.jsonl"
    _replace(manifest, "".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def write_clip(out: Path, config: ShapesConfig, clip: Attributes) -> Path:
    """Renders, synthesises and encodes one clip."""
    from mmvideo.media.encode import encode

    shapes = Shapes(config)
    path = out / shapes.row(clip)["media"]
    frames, samples = shapes.frames(clip), shapes.samples(clip)
    encode(
        path, frames, float(config.fps), samples=samples, sample_rate=config.sample_rate, crf=CRF, audio_bitrate=BITRATE
    )
    return path


def is_whole(path: Path) -> bool:
    """Whether a file is an mp4 whose top-level boxes, `moov` and `mdat` among them, end where the file ends."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            kinds, place = set(), 0
            while place < size:
                file.seek(place)
                head = file.read(16)
                length, kind = int.from_bytes(head[:4], "big"), head[4:8]
                length = int.from_bytes(head[8:16], "big") if length == 1 else length
                if length < 8:
                    return False
                kinds.add(kind)
                place += length
            return place == size and {b"moov", b"mdat"} <= kinds
    except OSError:
        return False


def _claim(path: Path, config: ShapesConfig) -> None:
    """Notes the settings in the folder, or checks that they are the ones noted there."""
    wanted = dataclasses.asdict(config)
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError:
            found = {}
        differing = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        if differing:
            names = ", ".join(differing)
            raise ValueError(
                f"{path.parent} holds shapes of other settings ({names}); choose another folder or remove it"
            )
    else:
        _replace(path, json.dumps(wanted, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _each_written(out: Path, config: ShapesConfig, clips: list[Attributes], processes: int | None) -> Iterator[Path]:
    """Writes clips, in this process or several, and yields each path as it is done."""
    processes = _cores() if processes is None else max(1, processes)
    processes = min(processes, -(-len(clips) // 16))
    jobs = [(out, config, clip) for clip in clips]
    if processes <= 1:
        yield from (write_clip(*job) for job in jobs)
        return
    # Spawned, not forked: the caller may hold JAX's threads, which a fork would copy in mid-air.
    context = multiprocessing.get_context("spawn")
    try:
        with concurrent.futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
            yield from pool.map(_write_job, jobs, chunksize=8)
    except concurrent.futures.process.BrokenProcessPool:
        raise OSError(
            f"{out}: a process that wrote clips died; run again to go on, with processes=1 if memory is short or if "
            "the calling script has no `if __name__ == '__main__':`"
        ) from None


def _cores() -> int:
    """The cores that this process may use, as far as the system tells."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _write_job(job: tuple[Path, ShapesConfig, Attributes]) -> Path:
    return write_clip(*job)


@contextlib.contextmanager
def _bar(total: int, done: int, shown: bool) -> Iterator[Callable[[], None]]:
    """A progress bar, or nothing."""
    if not shown:
        yield lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns) as bar:
        task = bar.add_task("sounding shapes", total=total, completed=done)
        yield lambda: bar.advance(task)
