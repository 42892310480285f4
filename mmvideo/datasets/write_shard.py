"""Writer of one shard of a corpus: reads, cuts, transcodes and checks its clips; the shard appears complete or not
at all."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmvideo.datasets.digests import digest_of
from mmvideo.datasets.manifests.annotations import Annotations
from mmvideo.datasets.manifests.manifest_row import ManifestRow
from mmvideo.datasets.manifests.surrogates import spelled_out
from mmvideo.media.config import LIMITS, Limits

if TYPE_CHECKING:
    from mmvideo.media.decode import MediaInfo

OVERSHOOT = 0.5
"""Seconds that a cut may exceed the end of its file, as lengths in web manifests do; it is then shortened."""

CUT_CRF = 18
"""x264's constant rate factor of a cut; 18 is hard to tell from the source."""

LATER = ("moments", "saliency", "fault")
"""Fields that older rows lacked; a None in them does not change the fingerprint."""

CHECKED = 1 << 24
"""Largest number of audio samples held at once in the check of a clip: 17 minutes at 16 kHz.

Longer audio is checked at a lower rate; every packet of it is decoded all the same.
"""

SAME_LENGTH = 0.15
"""Largest difference in seconds between a cut and a file of the same length: one AAC block and a frame."""


FAULTS = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EMFILE", "ENFILE", "ESTALE", "ENOTCONN")
)
"""System errors that are the machine's fault, not a clip's: no space, no file handles, a lost file system.

A full disk would otherwise turn all later clips into skipped ones, and the corpus would be complete without them.
"""


GO_ON = "the finished shards are kept: mend it, and run the same command again"


class MachineFault(OSError):
    """A fault of the machine, not of a clip, that stops a build."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Settings of transcoding.

    `short_side` is the largest length of the shorter side in pixels, `gop` the frames from key frame to key frame, and
    `fps` the frames per second. None leaves each as it is, and all None keep the bytes of an uncut file. `deinterlace`
    and `tone_map` apply to what is decoded; a reader of the corpus applies them to the bytes that were kept.
    """

    short_side: int | None = None
    gop: int | None = None
    fps: float | None = None
    deinterlace: bool = True
    tone_map: bool = True
    limits: Limits = LIMITS
    """Limits beyond which a clip is left out."""

    @property
    def screen(self) -> dict[str, bool]:
        """Arguments of `decode` and `transcode` for the display of frames."""
        return {"deinterlace": self.deinterlace, "tone_map": self.tone_map}

    def settings(self) -> dict[str, Any]:
        """Return its fields by name; defaults of display settings are left out, as in older corpora."""
        settings = {name: value for name, value in vars(self).items() if name != "limits"}
        settings = {name: value for name, value in settings.items() if name not in self.screen or not value}
        usual = dataclasses.asdict(LIMITS)
        bounds = dataclasses.asdict(self.limits)
        return settings | {f"limit_{name}": value for name, value in bounds.items() if value != usual[name]}


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """Content of one shard to write.

    Attributes:
      path: the shard's file.
      receipt: file written after the shard, which confirms that it is complete and lists its content.
      rows: its clips.
      classes: class names by label type.
      recipe: settings of transcoding.
      digest: fingerprint of all of these and of the files' sizes and times.
      kinds: the label types by sort.
    """

    path: Path
    receipt: Path
    rows: tuple[ManifestRow, ...]
    classes: Mapping[str, Sequence[str]]
    recipe: Recipe
    digest: str
    kinds: Annotations = Annotations()


@dataclasses.dataclass(frozen=True)
class ShardManifest:
    """Content of a finished shard: facts of its clips (see `clip_table.table_of`), and the skipped clips with reasons.

    `digest` is that of its task, `sha256` that of its bytes.
    """

    digest: str
    size: int
    sha256: str
    facts: list[dict[str, Any]]
    skipped: list[tuple[str, str]]


def rows_digest(rows: Sequence[ManifestRow], source: Path, *settings: Any) -> str:
    """Return a fingerprint of rows, of their files' sizes and modification times, and of JSON-serialisable settings."""
    entries = []
    for row in rows:
        status = row.media.stat()
        entry = dataclasses.asdict(row) | {"media": os.path.relpath(row.media, source)}
        entry = {name: value for name, value in entry.items() if name not in LATER or value is not None}
        # The line number is left out, so that a new blank line in the manifest rebuilds nothing.
        entries.append([entry | {"line": 0}, status.st_size, status.st_mtime_ns])
    words = json.dumps([settings, entries], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(words.encode(errors="surrogatepass")).hexdigest()


def read_shard_manifest(task: ShardTask) -> ShardManifest | None:
    """Return the receipt of a finished task; None if it is not finished, or has other rows or settings."""
    try:
        receipt = ShardManifest(**json.loads(task.receipt.read_text(encoding="utf-8")))
        same = receipt.digest == task.digest and task.path.stat().st_size == receipt.size
    except (OSError, ValueError, TypeError):
        return None
    return dataclasses.replace(receipt, skipped=[tuple(pair) for pair in receipt.skipped]) if same else None


def write_shard(task: ShardTask, tick: Callable[[], None]) -> None:
    """Write the shard and then its receipt, each under a temporary name first; call `tick` after each clip."""
    from array_record.python.array_record_module import ArrayRecordWriter

    from mmvideo.datasets.records import Serializer

    serialize = Serializer(task.classes, task.kinds)
    facts, skipped = [], []
    unfinished = task.path.with_name(task.path.name + ".tmp")
    # Media is compressed already; one record a group makes every record readable by itself.
    writer = ArrayRecordWriter(str(unfinished), "group_size:1,uncompressed")
    try:
        for row in task.rows:
            try:
                media, suffix, info = read_clip(row, task.recipe)
                fact = _fact(row, suffix, info, task)
            except Exception as error:  # A clip may be broken in any way; none may stop the build.
                if (fault := machine_fault(error)) is not None:
                    raise MachineFault(f"{row.id}: {fault}; {GO_ON}") from error
                skipped.append((row.id, _reason(error)))
            else:
                with _written(task.path):
                    writer.write(serialize(fact, media))
                facts.append(fact)
            tick()
    finally:
        with _written(task.path):
            writer.close()
    replace(unfinished, task.path)
    receipt = ShardManifest(task.digest, task.path.stat().st_size, digest_of(task.path), facts, skipped)
    write_text(task.receipt, json.dumps(dataclasses.asdict(receipt), ensure_ascii=False))


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    """Convert ArrayRecord's write errors, plain `RuntimeError`s, to machine faults."""
    try:
        yield
    except RuntimeError as error:
        raise MachineFault(f"{path}: {' '.join(str(error).split())[:200]}; {GO_ON}") from error


def read_clip(row: ManifestRow, recipe: Recipe) -> tuple[bytes, str, MediaInfo]:
    """Return the clip's media, cut and transcoded, its file suffix, and its contents.

    Raises:
      MediaError: the file cannot be read as media, or its cut is outside of it.
      ValueError: the row says that it must be left out.
    """
    from mmvideo.media.probe import probe

    if row.fault is not None:
        raise ValueError(row.fault)

    limits = recipe.limits
    info = probe(row.media, limits)
    cut = _cut(row, info.seconds)
    # Video is never enlarged.
    side = recipe.short_side if recipe.short_side and recipe.short_side < min(info.width, info.height) else None
    if cut is not None:
        media, suffix = _cut_media(row.media, info, cut, dataclasses.replace(recipe, short_side=side)), ".mp4"
    elif info.has_video and (side or recipe.gop or recipe.fps):
        from mmvideo.media.transcode import transcode

        settings = vars(recipe) | {"short_side": side}
        media, suffix = transcode(row.media, **settings), ".mp4"
    else:
        media, suffix = row.media.read_bytes(), spelled_out(row.media.suffix.lower())
    info = probe(media, limits)
    _check(media, info, limits)
    return media, suffix, info


def _cut(row: ManifestRow, seconds: float) -> tuple[float, float] | None:
    """Return the part of a file of this length that a row requests, or None for the whole file.

    If the row's end exceeds the file, but the file is exactly as long as the cut, the file was cut already: `start` and
    `end` are then the clip's position in the original.
    """
    from mmvideo.media.decode import MediaError

    if seconds <= 0:
        raise MediaError(f"{row.media}: lasts no time at all; is it whole?")
    start, end = row.start or 0.0, seconds if row.end is None else row.end
    if row.end is not None and end > seconds and abs((end - start) - seconds) <= SAME_LENGTH:
        return None
    if start >= seconds or end > seconds + OVERSHOOT:
        raise MediaError(
            f"{row.media}: the cut from {start:g} s to {end:g} s lies outside of the file, which lasts {seconds:.3f} s"
        )
    # A file of 10 s: a row from 60 to 70 s was cut already (above); one from 8 to 10.3 s becomes 8 to 10 s.
    return (start, min(end, seconds)) if start > 0 or end < seconds else None


def _cut_media(path: Path, info: MediaInfo, cut: tuple[float, float], recipe: Recipe) -> bytes:
    """Return the cut, encoded again, so that it is exact to the frame wherever the key frames are; frames keep their
    times.

    All of its frames are in memory at once; a long cut of large video needs a `short_side`.
    """
    from mmvideo.media.decode import MediaError, decode
    from mmvideo.media.encode import AAC_RATES, encode
    from mmvideo.media.frames.frame_selection import SLACK

    rate = info.sample_rate if info.sample_rate in AAC_RATES else 48000
    # Without a requested rate, frames keep their own times.
    fps = recipe.fps if info.has_video else None
    how = {"short_side": recipe.short_side, "limits": recipe.limits, **recipe.screen}
    clip = decode(path, start=cut[0], end=cut[1], fps=fps, sample_rate=rate, **how)
    if clip.damage:
        raise MediaError(f"{path}: is damaged: {clip.damage}")
    style = {"samples": clip.samples, "sample_rate": rate, "crf": CUT_CRF, "gop": recipe.gop}
    # The MP4 writer seeks back to put the index first, so it needs a file.
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "cut.mp4"
        if clip.frames is None or fps:
            encode(target, clip.frames, fps or 0.0, **style)
        else:
            frames, times = clip.frames, clip.times
            if times[0] > SLACK:
                # The cut begins within a frame, which is shown until the first frame that begins in the cut. Example:
                # a cut from 0.05 s with frames at 0 and 0.1 s gets the frames of 0 and 0.1 s at times 0 and 0.05.
                first = decode(path, start=cut[0], end=cut[1], times=[0.0], audio=False, **how)
                frames, times = np.concatenate([first.frames, frames]), np.concatenate([[0.0], times])
            encode(target, frames, None, times=times - times[0], seconds=cut[1] - cut[0], **style)
        return target.read_bytes()


def _check(media: bytes, info: MediaInfo, limits: Limits = LIMITS) -> None:
    """Decode the audio and the first and last frame: a header can be intact while the rest is missing."""
    from mmvideo.media.decode import MediaError, decode

    if info.seconds <= 0:
        raise MediaError("it lasts no time at all")
    # 10 s at 25 frames a second: the last frame is shown at 9.96 s.
    times = [0.0, max(0.0, info.seconds - 1 / max(info.fps, 1.0))] if info.has_video else None
    # An hour: 16777216 / 3600 = 4660 samples a second instead of 16000.
    rate = max(1, min(16000, int(CHECKED / info.seconds)))
    clip = decode(media, times=times, video=info.has_video, audio=info.has_audio, sample_rate=rate, limits=limits)
    if clip.truncated:
        raise MediaError(f"it is damaged: {clip.damage}")
    if info.has_video and (clip.frames is None or len(clip.frames) == 0):
        raise MediaError("its picture track has no frames")
    if info.has_audio and (clip.samples is None or len(clip.samples) == 0):
        raise MediaError("its sound track has no samples")


def _fact(row: ManifestRow, suffix: str, info: MediaInfo, task: ShardTask) -> dict[str, Any]:
    """Return the facts of a clip for the table.

    Raises:
      MediaError: a moment starts after the end of the clip.
    """
    from mmvideo.media.frames.displayed import look

    _check_moments(row, info.seconds)

    def numbers(kind: str) -> list[int]:
        place = {name: number for number, name in enumerate(task.classes[kind])}
        known = row.labels[kind]
        return [place[name] for name in ((known,) if isinstance(known, str) else known)]

    place = {"start": row.start, "end": row.end}
    interlaced, hdr = look(row.media) if info.has_video else (False, False)
    return {
        "id": row.id,
        "suffix": suffix,
        "seconds": float(info.seconds),
        "has_video": bool(info.has_video),
        "has_audio": bool(info.has_audio),
        "width": int(info.width),
        "height": int(info.height),
        "fps": float(info.fps),
        "captions": list(row.captions),
        "labels": {kind: numbers(kind)[0] if kind in row.labels else -1 for kind in task.kinds.single},
        "several": {kind: numbers(kind) if kind in row.labels else None for kind in task.kinds.several},
        "numbers": {kind: row.labels.get(kind) for kind in task.kinds.number},
        "tags": list(row.tags),
        "attributes": {name: value for name, value in place.items() if value is not None} | row.attributes,
        "moments": row.moments,
        "interlaced": interlaced,
        "hdr": hdr,
        "saliency": None if row.saliency is None else [row.saliency.step, row.saliency.scores],
    }


def _check_moments(row: ManifestRow, seconds: float) -> None:
    from mmvideo.media.decode import MediaError

    for start, end in row.moments or ():
        if start >= seconds:
            raise MediaError(f"its moment [{start:g}, {end:g}] s lies behind its end, at {seconds:.3f} s")


def machine_fault(error: BaseException | None) -> str | None:
    """Return a description of the machine's fault behind an error; None if the clip is at fault."""
    while error is not None:
        number = getattr(error, "errno", None)  # FFmpeg's errors have one too, and are no OSError.
        if number in FAULTS:
            return f"{os.strerror(number)} ({getattr(error, 'filename', None) or 'temporary files'})"
        # A library may wrap ENOSPC in its own error, so look through the chain.
        error = error.__cause__ or error.__context__
    return None


def _reason(error: Exception) -> str:
    """Return the reason for leaving out a clip, on one line."""
    words = spelled_out(" ".join(str(error).split())) or type(error).__name__
    return words if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: {words}"


def replace(unfinished: Path, path: Path) -> None:
    """Rename a file to its final name after its bytes have reached the disk."""
    with open(unfinished, "rb") as file:
        # Without it, a power cut may leave the new name with empty content.
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def write_text(path: Path, text: str) -> None:
    """Write a text file, completely or not at all."""
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8")
    replace(unfinished, path)
