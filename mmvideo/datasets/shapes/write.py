"""Writing of sounding shapes and long videos as MP4 files with a manifest: parallel, deterministic, resumable."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mmvideo.datasets.shapes.attributes import Attributes
from mmvideo.datasets.shapes.clips import Shapes
from mmvideo.datasets.shapes.config import ShapesConfig
from mmvideo.datasets.shapes.files import check_splits, claim, is_whole, write_files, write_rows
from mmvideo.datasets.shapes.questions import question_rows
from mmvideo.datasets.shapes.scenes import LongVideo, Scenes, ScenesConfig

SETTINGS, SCENES = "shapes.json", "scenes.json"
"""Files that hold the settings of clips and of long videos."""

MANIFEST, QUESTIONS, EVENTS, DENSE = "manifest.jsonl", "questions.jsonl", "events.jsonl", "dense.jsonl"
"""Manifests: of clips or queries, of questions about the clips, of the events in the long videos."""

CRF, BITRATE = 28, 32000
"""Quality of H.264 and bits per second of AAC: coarser than `encode`'s default, because small clips are read often."""

LONG_CRF, LONG_PRESET = 33, "superfast"
"""Encoder settings of long videos: the quality and size of `CRF` with the usual preset, but without x264's look-ahead.

With look-ahead, the same frames sometimes give other bytes, depending on earlier work of the process.
"""


def write_shapes(
    out_dir: str | os.PathLike,
    config: ShapesConfig,
    splits: Mapping[str, int] | None = None,
    processes: int | None = None,
    progress: bool = False,
    questions: int = 0,
) -> Path:
    """Write `clips/SPLIT-NUMBER.mp4`, `shapes.json` (the settings) and finally `manifest.jsonl`.

    A clip appears under its name only when it is complete, and the manifest only when every clip exists. A second run
    keeps the complete clips; a folder of other settings is refused, because their clips would be mixed.

    Args:
        out_dir: output folder, created if missing.
        config: settings of the clips.
        splits: number of clips in each split; default 2000 for training and 512 for testing.
        processes: number of parallel processes; None is one for each core, 1 stays in this process.
        progress: whether to draw a progress bar.
        questions: number of questions about each clip, with answers, in `questions.jsonl`, a separate manifest of the
            same clips; 0 writes none.

    Returns:
        The manifest's path.

    Raises:
        ValueError: a split has no usable name or number, there are fewer questions than requested, or the folder holds
            clips of other settings.
        OSError: the folder cannot be written, or a process died.
    """
    splits = {"train": 2000, "test": 512} if splits is None else splits
    check_splits(splits)
    out = Path(out_dir)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    claim(out / SETTINGS, config)
    shapes = Shapes(config)
    clips = [clip for name, count in splits.items() for clip in shapes.draw(name, count)]
    rows, asked = [shapes.row(clip) for clip in clips], question_rows(config, clips, questions)
    # Only incomplete or missing clips are made again.
    missing = [clip for clip, row in zip(clips, rows, strict=True) if not is_whole(out / row["media"])]
    write_files(functools.partial(write_clip, out, config), missing, len(clips), processes, progress)
    if questions:
        write_rows(out / QUESTIONS, asked)
    write_rows(out / MANIFEST, rows)
    return out / MANIFEST


def write_clip(out: Path, config: ShapesConfig, clip: Attributes) -> Path:
    """Render, synthesise and encode one clip."""
    shapes = Shapes(config)
    path = out / shapes.row(clip)["media"]
    _encode(path, config, shapes.frames(clip), shapes.samples(clip))
    return path


def write_scenes(
    out_dir: str | os.PathLike,
    config: ScenesConfig,
    splits: Mapping[str, int] | None = None,
    processes: int | None = None,
    progress: bool = False,
) -> Path:
    """Write long videos: `videos/SPLIT-NUMBER.mp4`, `scenes.json` (the settings), and three manifests.

    They are `events.jsonl` with one row for each video, `dense.jsonl` with its events as one text with time tokens, and
    finally `manifest.jsonl` with one row for each query. An interrupted run continues as in `write_shapes`.

    Args:
        out_dir: output folder, created if missing.
        config: settings of the videos.
        splits: number of videos in each split; default 400 for training and 100 for testing.
        processes, progress: as for `write_shapes`.

    Returns:
        The path of the manifest of queries.

    Raises:
        ValueError, OSError: as `write_shapes`.
    """
    splits = {"train": 400, "test": 100} if splits is None else splits
    check_splits(splits)
    out = Path(out_dir)
    (out / "videos").mkdir(parents=True, exist_ok=True)
    claim(out / SCENES, config)
    scenes = Scenes(config)
    videos = [video for name, count in splits.items() for video in scenes.draw(name, count)]
    missing = [video for video in videos if not is_whole(out / video.media)]
    write_files(functools.partial(write_video, out, config), missing, len(videos), processes, progress)
    write_rows(out / EVENTS, map(scenes.event_row, videos))
    write_rows(out / DENSE, map(scenes.dense_row, videos))
    write_rows(out / MANIFEST, [row for video in videos for row in scenes.rows(video)])
    return out / MANIFEST


def write_video(out: Path, config: ScenesConfig, video: LongVideo) -> Path:
    """Render, synthesise and encode one long video."""
    scenes = Scenes(config)
    _encode(out / video.media, config.scene, scenes.frames(video), scenes.samples(video), LONG_CRF, LONG_PRESET)
    return out / video.media


def _encode(
    path: Path,
    config: ShapesConfig,
    frames: np.ndarray,
    samples: np.ndarray,
    crf: int = CRF,
    preset: str = "veryfast",
) -> None:
    from mmvideo.media.encode import encode

    rate, fps = config.sample_rate, float(config.fps)
    encode(path, frames, fps, samples=samples, sample_rate=rate, crf=crf, preset=preset, audio_bitrate=BITRATE)
