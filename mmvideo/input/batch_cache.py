"""Batches kept on disk, so that runs with the same input decode their clips once between them.

A batch is a pure function of the settings, the corpora and its number. Its arrays lie in `FOLDER/KEY/STEP.npz`, where
the key is a digest of everything that decides them; a run that finds a file reads it, and writes those that are
missing. Files appear whole, so that runs beside each other may share a folder: at worst both make a batch. Clips that
gave nothing are kept with them and told again. Every file says of itself which batch of which key it is, and holds a
digest: one that is damaged, or another's, is made again, and a warning tells.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
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

NOTE = "note"
"""The array of a file that says what it is, as JSON."""

_LOG = logging.getLogger(__name__)

IDLE = ("keep", "memory", "threads", "prefetch")
"""Fields of `Input` that change no batch."""


def cache_key(config: Input, corpora: Sequence[Any], assets: Mapping[str, bytes], **how: Any) -> str:
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


class BatchCache:
    """The kept batches of one key.

    Args:
      folder: `Input.keep`, and the key.
      template: a batch, made anew, of whose structure all are.
    """

    def __init__(self, folder: Path, template: Callable[[], TokenStream]):
        self._folder, self._template = folder, template
        self._structure: Any = None
        self._known = self._read_skipped()
        self._writable = True

    def iterate(
        self,
        start: int,
        stop: int,
        make: Callable[[int, int], Iterator[tuple[int, TokenStream]]],
        skipped: Callable[[], Sequence[tuple[str, str]]] = tuple,
    ) -> Iterator[tuple[int, TokenStream]]:
        """Batches `start` to `stop - 1` with their numbers, from the folder, or made and kept from the first that is
        not there on, up to the next that is.

        Args:
          start, stop: which.
          make: makes a stretch of them.
          skipped: the clips that gave nothing while they were made, with the reasons; kept before the batches.
        """
        step = start
        while step < stop:
            found = self._read(step)
            if found is not None:
                yield step, found
                step += 1
                continue
            end = next((later for later in range(step + 1, stop) if self._path(later).is_file()), stop)
            for number, made in make(step, end):
                self._keep(number, made, skipped())
                yield number, made
            step = end

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Clips that gave nothing when the batches were made, with the reasons."""
        return list(self._known.items())

    def _path(self, step: int) -> Path:
        return self._folder / f"{step}.npz"

    def _read(self, step: int) -> TokenStream | None:
        """A batch; None where it is not there or anything about it is wrong: it is made again."""
        path = self._path(step)
        try:
            with np.load(path) as file:
                arrays = {name: file[name] for name in file.files}
            told = json.loads(arrays.pop(NOTE).tobytes())
            found = self._note(step, arrays)
            wrong = [name for name in found if told.get(name) != found[name]]
            if wrong:
                raise ValueError(f"its {wrong[0]} is {told.get(wrong[0])}, not {found[wrong[0]]}")
            if self._structure is None:
                self._structure = jax.tree.structure(self._template())
            return jax.tree.unflatten(self._structure, list(arrays.values()))
        except FileNotFoundError:
            return None
        # Bytes that are wrong make zipfile, zlib and NumPy raise nearly anything, and ask for any amount of memory.
        except Exception as error:
            _LOG.warning("%s: isn't the batch that was kept, and is made again (%s)", path, _told(error))
            return None

    def _note(self, step: int, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """What a file says of itself: which batch of which key it is, and the digest of its arrays."""
        digest = hashlib.sha256()
        for name, array in arrays.items():
            digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
        return {"step": step, "key": self._folder.name, "digest": digest.hexdigest()}

    def _keep(self, step: int, stream: TokenStream, skipped: Sequence[tuple[str, str]]) -> None:
        """Writes a batch, after the clips that gave nothing in it; where there is no room the run goes on without."""
        if not self._writable:
            return
        arrays = {f"{number:03}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(stream))}
        note = np.frombuffer(json.dumps(self._note(step, arrays)).encode(), np.uint8)
        try:
            self._keep_skipped(skipped)
            self._replace(f"{step}.npz", lambda file: np.savez_compressed(file, **arrays, **{NOTE: note}))
        except OSError as error:
            self._writable = False
            _LOG.warning("%s: no more batches are kept there (%s)", self._folder, _told(error))

    def _keep_skipped(self, clips: Sequence[tuple[str, str]]) -> None:
        new = dict(clips)
        if new.keys() <= self._known.keys():
            return
        # Another run may have kept some in the meantime.
        self._known = self._read_skipped() | self._known | new
        pairs = [*self._known.items()]
        content = {"key": self._folder.name, "digest": _digest(pairs), "clips": pairs}
        self._replace(SKIPPED, lambda file: file.write(json.dumps(content).encode()))

    def _read_skipped(self) -> dict[str, str]:
        """Ids and reasons. Where the file isn't what was written, nobody knows why batches have holes: all are made
        again."""
        path = self._folder / SKIPPED
        try:
            content = json.loads(path.read_bytes())
            if (content["key"], content["digest"]) != (self._folder.name, _digest(content["clips"])):
                raise ValueError("its key or its digest is another")
            return {str(clip): str(reason) for clip, reason in content["clips"]}
        except FileNotFoundError:
            return {}
        except Exception as error:  # As for batches.
            _LOG.warning("%s: isn't what was kept (%s); the batches beside it are made again", path, _told(error))
            for kept in [*self._folder.glob("*.npz"), path]:
                kept.unlink(missing_ok=True)
            return {}

    def _replace(self, name: str, write: Callable[[Any], Any]) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        fresh = self._folder / f".{name}.{os.getpid()}"
        try:
            with fresh.open("wb") as file:
                write(file)
            fresh.replace(self._folder / name)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
