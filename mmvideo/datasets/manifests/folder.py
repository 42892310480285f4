"""A folder of clips without a manifest: every media file is a clip, and a class folder is its label."""

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
"""Endings of files that are taken for clips."""

SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "validation"
)
"""Names of folders that are splits and not classes."""


def find_clips(folder: Path) -> list[ManifestRow]:
    r"""The clips in a folder that has no manifest, in the order of their paths.

    The id is the file's path in the folder without its ending, bytes that aren't UTF-8 spelled out (`caf\xe9`). In a
    top folder such as `train` or `test` the clips belong to that split. If every clip lies in a folder (of its split),
    that folder is its label.

    Raises:
      ManifestError: the folder holds no media files, two that differ in their ending only, or a folder whose name
        can't be a class.
    """
    folder = Path(folder).absolute()
    files = sorted(path for path in _walk(folder) if _is_clip(path))
    if not files:
        raise ManifestError(
            f"{folder}: no manifest.jsonl, no manifest.csv and no media files; write manifest.jsonl with a line "
            '{"id": "first", "media": "clips/first.mp4", "captions": ["…"], "label": "…"} for each clip'
        )
    places = [_place(path.relative_to(folder)) for path in files]
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
    """Paths of the files that `find_clips` leaves out since they don't end as media do, and of links that it does not
    follow: to folders (`class/`), and to nothing. Hidden ones aside.

    Licences, notes (`README`) and `classes.json` are read or kept in other ways, and aren't listed.
    """
    folder = Path(folder).absolute()
    names = [path.relative_to(folder) for path in _walk(folder) if not _is_clip(path)]
    known = ("LICENSE", "LICENCE", "README", "classes.json")
    return sorted(spelled_out(name.as_posix()) for name in names if not name.name.startswith(known))


def _walk(folder: Path) -> Iterator[Path]:
    """All that is in a folder and the folders in it, but for folders and what is hidden; links aren't followed.

    Raises:
      OSError: a folder can't be read, as for lack of leave; its clips would else be missing without a word.
    """

    def stop(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=stop):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in (*links, *files) if not name.startswith("."))


def _is_clip(path: Path) -> bool:
    return path.suffix.lower() in MEDIA and path.is_file()


def _place(path: Path) -> tuple[str, str | None]:
    """The split and the class that the folders of a clip say."""
    folders = list(path.parts[:-1])
    split = SPLITS.get(folders[0].lower()) if folders else None
    folders = folders[1:] if split else folders
    if not folders:
        return split or "train", None
    label = spelled_out(folders[0]).strip()
    if not label or "\n" in label or "\r" in label:
        raise ManifestError(f"the folder {folders[0]!r} can't be a class; leave out line ends, and name it")
    return split or "train", label
