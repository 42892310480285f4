"""Folder of clips without a manifest: every media file is a clip, and a class folder is its label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmvideo.datasets.manifests.manifest_reader import ManifestError
from mmvideo.datasets.manifests.manifest_row import ManifestRow
from mmvideo.datasets.manifests.surrogates import spelled_out

MEDIA = frozenset(
    ".mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .ts .mts .m2ts .vob .mxf .ogv .flv .asf .wmv .3gp .gif .webp "
    ".wav .flac .mp3 .m4a .mka .aac .amr .ogg .opus .oga .aif .aiff .wma".split()
)
"""Suffixes of files that count as clips."""

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "validation"
)
"""Names of folders that are splits, not classes."""


def find_clips(folder: Path) -> list[ManifestRow]:
    r"""Return the clips in a folder without a manifest, sorted by path.

    The id is the file's path in the folder without its suffix, with non-UTF-8 bytes escaped (`caf\xe9`). Clips in a top
    folder such as `train` or `test` belong to that split. If every clip is in a folder (of its split), that folder is
    its label.

    Raises:
      ManifestError: the folder holds no media files, two that differ only in their suffix, or a folder whose name
        cannot be a class.
    """
    folder = Path(folder).absolute()
    files = sorted(path for path in _walk(folder) if _is_clip(path))
    if not files:
        raise ManifestError(
            f"{folder}: no manifest.jsonl, no manifest.csv and no media files; write manifest.jsonl with a line "
            '{"id": "first", "media": "clips/first.mp4", "captions": ["…"], "label": "…"} for each clip'
        )
    places = [_place(path.relative_to(folder)) for path in files]
    # One clip outside the class folders means that the folders are no classes.
    classed = all(label is not None for _, label in places)
    rows: dict[str, ManifestRow] = {}
    for path, (split, label) in zip(files, places, strict=True):
        name = spelled_out(path.relative_to(folder).with_suffix("").as_posix())
        if name in rows:
            raise ManifestError(
                f"{spelled_out(str(path))}: has the same name as {spelled_out(rows[name].media.name)}; "
                "remove one of them or write a manifest.jsonl"
            )
        rows[name] = ManifestRow(id=name, media=path, split=split, labels={"label": label} if classed else {})
    return list(rows.values())


def left_out(folder: Path) -> list[str]:
    """Return the paths of files without a media suffix, and of links that are not followed: to folders (`class/`), and
    broken.

    Hidden files, licences, notes (`README`) and `classes.json`, which have other uses, are not listed.
    """
    folder = Path(folder).absolute()
    names = [path.relative_to(folder) for path in _walk(folder) if not _is_clip(path)]
    known = ("LICENSE", "LICENCE", "README", "classes.json")
    return sorted(spelled_out(name.as_posix()) for name in names if not name.name.startswith(known))


def _walk(folder: Path) -> Iterator[Path]:
    """Yield all files and links in a folder and its subfolders, except hidden ones; links are not followed.

    Raises:
      OSError: a folder cannot be read, e.g. for lack of permission; its clips would otherwise be missing silently.
    """

    def stop(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=stop):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        # In place: os.walk descends only into the folders that remain.
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in (*links, *files) if not name.startswith("."))


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in MEDIA and path.is_file()


def _place(path: Path) -> tuple[str, str | None]:
    """Return the split and the class from the folders of a clip."""
    # `train/dance/a.mp4` gives ("train", "dance"), `dance/a.mp4` the same, and `test/a.mp4` gives ("test", None).
    folders = list(path.parts[:-1])
    split = SPLITS.get(folders[0].lower()) if folders else None
    folders = folders[1:] if split else folders
    if not folders:
        return split or "train", None
    label = spelled_out(folders[0]).strip()
    if not label or "\n" in label or "\r" in label:
        raise ManifestError(f"the folder {folders[0]!r} can't be a class; leave out line ends, and name it")
    return split or "train", label
