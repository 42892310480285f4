"""Cache of batches on disk, so that runs with the same input decode each clip once.

A batch is a pure function of the settings, the corpora and its number. Its arrays are in `FOLDER/KEY/STEP.npz`; the key
is a digest of everything that determines them. A run reads the files that exist and writes the missing ones. A file
appears complete or not at all, so concurrent runs may share a folder; at worst both make a batch. The skipped clips
are stored beside the batches and reported again. Every file states its batch and key and holds a digest. A damaged or
foreign file is made again, with a warning.
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
"""Format number; increase it whenever the same settings make different batches."""

SKIPPED = "skipped.json"

NOTE = "note"
"""Name of the array that identifies a file, as JSON."""

_LOG = logging.getLogger(__name__)

IDLE = ("keep", "memory", "threads", "prefetch")
"""Fields of `Input` that change no batch."""


def cache_key(config: Input, corpora: Sequence[Any], assets: Mapping[str, bytes], **how: Any) -> str:
    """Return the digest of everything that determines the batches.

    Args:
      config: the settings.
      corpora: the open corpora; each shard counts by name, size and modification time.
      assets: assets of the batches: tokenizer, classes, statistics.
      how: further determining values, JSON-serialisable.
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
    """The cached batches of one key.

    Args:
      folder: `Input.keep` and the key.
      template: makes a batch; all batches have its tree structure.
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
        """Yield batches `start` to `stop - 1` with their numbers, from the folder where it has them.

        Args:
          start, stop: first batch and end.
          make: makes a range of batches.
          skipped: returns the clips skipped so far, with reasons; they are stored before the batches.
        """
        step = start
        while step < stop:
            found = self._read(step)
            if found is not None:
                yield step, found
                step += 1
                continue
            # Make all batches up to the next stored one in a single call: with 2 and 5 stored, 3 and 4 are one range.
            end = next((later for later in range(step + 1, stop) if self._path(later).is_file()), stop)
            for number, made in make(step, end):
                self._keep(number, made, skipped())
                yield number, made
            step = end

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Clips skipped when the batches were made, with reasons."""
        return list(self._known.items())

    def _path(self, step: int) -> Path:
        return self._folder / f"{step}.npz"

    def _read(self, step: int) -> TokenStream | None:
        """Return a batch; None if its file is missing or wrong, and the batch must be made again."""
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
        """Return the identity of a file: its batch, its key, and the digest of its arrays."""
        digest = hashlib.sha256()
        for name, array in arrays.items():
            digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
            digest.update(np.ascontiguousarray(array).data)
        return {"step": step, "key": self._folder.name, "digest": digest.hexdigest()}

    def _keep(self, step: int, stream: TokenStream, skipped: Sequence[tuple[str, str]]) -> None:
        """Write a batch, after its skipped clips; on a storage error the run goes on without further writes."""
        if not self._writable:
            return
        arrays = {f"{number:03}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(stream))}
        note = np.frombuffer(json.dumps(self._note(step, arrays)).encode(), np.uint8)
        try:
            # Reasons first: a stored batch with gaps must never exist without them.
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
        """Return ids and reasons of the skipped clips.

        If the file is damaged, the gaps in the batches beside it have no known reason, so those batches are deleted
        too.
        """
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
        # The process id keeps two runs from writing to the same temporary file.
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
