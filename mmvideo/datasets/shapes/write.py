"""Writes sounding shapes and long videos of them as mp4 files with a manifest: parallel, deterministic, resumable."""

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
"""Files that note the settings of clips and of long videos."""

MANIFEST, QUESTIONS, EVENTS, DENSE = "manifest.jsonl", "questions.jsonl", "events.jsonl", "dense.jsonl"
"""Manifests: of clips or queries, of questions about the clips, of what happens in the long videos."""

CRF, BITRATE = 28, 32000
"""Quality of H.264 and bits a second of AAC: coarser than `encode` by itself, since small clips are read often."""

LONG_CRF, LONG_PRESET = 33, "superfast"
"""For long videos: as good and as large as `CRF` by the usual preset, but x264 doesn't look ahead. Where it does, the
same pictures now and then give other bytes, depending on what the process did before."""


def write_shapes(
    out_dir: str | os.PathLike,
    config: ShapesConfig,
    splits: Mapping[str, int] | None = None,
    processes: int | None = None,
    progress: bool = False,
    questions: int = 0,
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
        questions: questions of each clip, with their answers, that `questions.jsonl` is to hold, a manifest of its own
            over the same clips; 0 writes none.

    Returns:
        The manifest's path.

    Raises:
        ValueError: a split without a usable name or number, more questions than there are, or a folder that holds
            clips of other settings.
        OSError: the folder can't be written, or a process died.
    """
    splits = {"train": 2000, "test": 512} if splits is None else splits
    check_splits(splits)
    out = Path(out_dir)
    (out / "clips").mkdir(parents=True, exist_ok=True)
    claim(out / SETTINGS, config)
    shapes = Shapes(config)
    clips = [clip for name, count in splits.items() for clip in shapes.draw(name, count)]
    rows, asked = [shapes.row(clip) for clip in clips], question_rows(config, clips, questions)
    missing = [clip for clip, row in zip(clips, rows, strict=True) if not is_whole(out / row["media"])]
    write_files(functools.partial(write_clip, out, config), missing, len(clips), processes, progress)
    if questions:
        write_rows(out / QUESTIONS, asked)
    write_rows(out / MANIFEST, rows)
    return out / MANIFEST


def write_clip(out: Path, config: ShapesConfig, clip: Attributes) -> Path:
    """Renders, synthesises and encodes one clip."""
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
    """Writes long videos: `videos/SPLIT-NUMBER.mp4`, `scenes.json` (the settings), and manifests: `events.jsonl` with
    one row a video, `dense.jsonl` with its events as one text with time tokens, and, last of all, `manifest.jsonl`
    with one row a query. Goes on where it stopped, as `write_shapes`.

    Args:
        out_dir: folder to write, made if it isn't there.
        config: what the videos are like.
        splits: videos in each split; by default 400 to train on and 100 to test.
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
    """Renders, synthesises and encodes one long video."""
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
