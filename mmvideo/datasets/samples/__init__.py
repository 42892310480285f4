"""Three small real sets in the package, as corpora built on demand.

`film` has video, audio and captions, `animations` no audio, `sounds` no video. `all` is the three together, a corpus in
which most clips lack a modality. README.md describes them, LICENSE.txt in each folder has their licences.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

from mmvideo.datasets.manifests.manifest import class_names, read_manifest
from mmvideo.datasets.manifests.manifest_row import ManifestRow

FOLDER = Path(__file__).parent
SETS = ("film", "animations", "sounds")
ALL = "all"

VOCABULARY = {"film": 512, "animations": 512, "sounds": 200, ALL: 512}
"""Vocabulary of the tokenizer of each embedded set; the captions of `sounds` have few words."""


def sample_rows(name: str) -> list[ManifestRow]:
    """Return the clips of an embedded set.

    In `all` the class of a clip is a label named after its set, because the classes of the sets have nothing in common;
    the set itself is the label `set`.

    Raises:
      KeyError: there is no such set.
    """
    if name != ALL:
        return read_manifest(_folder(name))
    return [
        dataclasses.replace(row, labels={part: row.labels["label"], "set": part})
        for part in SETS
        for row in read_manifest(_folder(part))
    ]


def licences(name: str) -> dict[str, Path]:
    """Return the licence files of the clips of a set, by their names in its corpus."""
    if name != ALL:
        return {"LICENSE.txt": _folder(name) / "LICENSE.txt"}
    return {f"LICENSE-{part}.txt": _folder(part) / "LICENSE.txt" for part in SETS}


def cached(name: str) -> Path:
    """Return the folder of an embedded set's corpus, which is built first if it is missing.

    It is in the folder of the environment variable `MMVIDEO_CACHE`, or in `~/.cache/mmvideo`, under a name that changes
    with the clips and with the layout of corpora. Processes that request it at the same time build it once.

    Raises:
      KeyError: there is no such set; the message names the existing ones.
    """
    import fcntl

    from mmvideo.datasets.build import COMPLETE

    _folder(name)
    cache = Path(os.environ.get("MMVIDEO_CACHE") or "~/.cache/mmvideo").expanduser().absolute()
    out = cache / f"samples-{name}-{_digest(name)}"
    if (out / COMPLETE).is_file():
        return out
    cache.mkdir(parents=True, exist_ok=True)
    with open(f"{out}.lock", "w") as lock:
        # A second process waits here, and then finds the finished corpus.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out / COMPLETE).is_file():
            _build(name, out)
    return out


def _build(name: str, out: Path) -> None:
    from mmvideo.datasets.build import build_rows
    from mmvideo.datasets.write_shard import Recipe

    # The remains of an interrupted process may come from another copy of the package.
    shutil.rmtree(out, ignore_errors=True)
    rows = sample_rows(name)
    build_rows(
        rows,
        FOLDER,
        out,
        classes=class_names(rows, {}),
        licences=licences(name),
        name=f"samples_{name}",
        recipe=Recipe(),
        # A script without a main guard may ask for a sample set, so no process is spawned.
        processes=1,
        shard_clips=128,
        tokenizer_vocabulary=VOCABULARY[name],
        progress=True,
    )


def _digest(name: str) -> str:
    from mmvideo.datasets.build import LAYOUT

    manifests = [(_folder(part) / "manifest.jsonl").read_bytes() for part in (SETS if name == ALL else (name,))]
    return hashlib.sha256(b"\n".join([*manifests, f"{LAYOUT} {VOCABULARY[name]}".encode()])).hexdigest()[:12]


def _folder(name: str) -> Path:
    if name not in (*SETS, ALL):
        raise KeyError(f"there is no embedded set '{name}'; there are {', '.join((*SETS, ALL))}")
    return FOLDER / name
