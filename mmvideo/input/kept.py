"""Batches kept on disk, so that runs with the same input decode their clips once between them.

A batch is a pure function of the settings, the corpora and its number. Its arrays lie in `FOLDER/KEY/STEP.npz`, where
the key is a digest of everything that decides them; a run that finds a file reads it, and writes those that are
missing. Files appear whole, so that runs beside each other may share a folder: at worst both make a batch. Clips that
gave nothing are kept with them and told again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmvideo.input.config import Input
from mmvideo.stream import TokenStream

FORMAT = 1
"""Raised whenever the same settings make other batches than before."""

SKIPPED = "skipped.json"

IDLE = ("keep", "threads", "prefetch")
"""Fields of `Input` that change no batch."""


def key_of(config: Input, corpora: Sequence[Any], assets: Mapping[str, bytes], **how: Any) -> str:
    """The digest of all that decides batches.

    Args:
      config: the settings.
      corpora: the open corpora; their shards count by name, size and time of their last change.
      assets: of the batches: tokenizer, classes, statistics.
      how: whatever else decides, as JSON holds it.
    """
    settings = {name: value for name, value in dataclasses.asdict(config).items() if name not in IDLE}
    files = [
        (corpus.split, path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for corpus in corpora
        for path in sorted(corpus.path.iterdir())
        if path.is_file()
    ]
    if config.embeddings is not None:
        told = Path(config.embeddings).stat()
        files.append(("embeddings", config.embeddings, told.st_size, told.st_mtime_ns))
    names = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(assets.items())}
    told = json.dumps([FORMAT, settings, files, names, how], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


class Kept:
    """The kept batches of one key.

    Args:
      folder: `Input.keep`, and the key.
      template: a batch, made anew, of whose structure all are.
    """

    def __init__(self, folder: Path, template: Callable[[], TokenStream]):
        self._folder, self._template = folder, template
        self._structure: Any = None

    def iterate(
        self, start: int, stop: int, make: Callable[[int, int], Iterator[tuple[int, TokenStream]]]
    ) -> Iterator[tuple[int, TokenStream]]:
        """Batches `start` to `stop - 1` with their numbers, from the folder, or made and kept from the first that is
        not there on, up to the next that is."""
        step = start
        while step < stop:
            found = self._read(step)
            if found is not None:
                yield step, found
                step += 1
                continue
            end = next((later for later in range(step + 1, stop) if self._path(later).is_file()), stop)
            for number, made in make(step, end):
                self._write(number, made)
                yield number, made
            step = end

    def skipped(self) -> list[tuple[str, str]]:
        """Clips that gave nothing when the batches were made, with the reasons."""
        try:
            return [tuple(pair) for pair in json.loads((self._folder / SKIPPED).read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []

    def note_skipped(self, clips: Sequence[tuple[str, str]]) -> None:
        """Keeps such clips beside the batches."""
        known = dict(self.skipped())
        if set(dict(clips)) - set(known):
            self._replace(SKIPPED, lambda file: file.write(json.dumps([*(known | dict(clips)).items()]).encode()))

    def _path(self, step: int) -> Path:
        return self._folder / f"{step}.npz"

    def _read(self, step: int) -> TokenStream | None:
        """A batch; None where it is not there, or damaged: it is made again."""
        try:
            with np.load(self._path(step)) as file:
                leaves = [file[name] for name in file.files]
        except (FileNotFoundError, zipfile.BadZipFile, ValueError, EOFError):
            return None
        if self._structure is None:
            self._structure = jax.tree.structure(self._template())
        return jax.tree.unflatten(self._structure, leaves)

    def _write(self, step: int, stream: TokenStream) -> None:
        leaves = jax.tree.leaves(stream)
        self._replace(
            f"{step}.npz", lambda file: np.savez_compressed(file, **{f"{n:03}": leaf for n, leaf in enumerate(leaves)})
        )

    def _replace(self, name: str, write: Callable[[Any], Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f".{name}.{os.getpid()}"
        with fresh.open("wb") as file:
            write(file)
        fresh.replace(self._folder / name)
