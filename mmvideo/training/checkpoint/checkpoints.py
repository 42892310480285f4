"""Checkpoints: written by Orbax in the background, verified by digests.

The folder of a step holds `params/`, `ema/` if an average is kept, `variables/` if there are any, `rest/` (optimiser
state, counters), `record/` (assets, config.json, digests) and `written/` (list of files). Orbax builds it under a
temporary name and renames it when it is complete, so an interrupted save never looks like a checkpoint. Orbax restores
flipped bits without an error. Therefore every array is digested on the device before the write and again after the
read; small files are digested as they are.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mmvideo.training.checkpoint.checkpoint_manifest import (
    RECORD,
    WRITTEN,
    ArrayRecord,
    CheckpointError,
    DamagedCheckpoint,
    FilesSave,
    make_record,
    read_record,
)
from mmvideo.training.checkpoint.checksums import digests
from mmvideo.training.checkpoint.cleanup import remove_partial
from mmvideo.training.checkpoint.restore import read_part
from mmvideo.training.checkpoint.retention import (
    MARK,
    Best,
    RetentionPolicy,
    is_better,
    metric_of,
    preservation,
    read_best,
    write_best,
)
from mmvideo.training.checkpoint.serialization import assemble, fill, flat, parts_of
from mmvideo.training.checkpoint.storage_errors import StorageError, size_in_words, storage_error
from mmvideo.training.checkpoint.writing import arrays_to_save, make_manager
from mmvideo.training.state import TrainState

__all__ = ["CheckpointError", "Checkpoints", "DamagedCheckpoint", "RetentionPolicy", "StorageError"]

DAMAGED = "damaged-"

SLOW = 10.0
"""Seconds of waiting for the previous save after which a run reports slow storage."""

Found = TypeVar("Found")


class Checkpoints:
    """The checkpoints of one folder.

    Args:
      folder: `WORKDIR/checkpoints`, on a file system shared by all processes.
      retention: rule for the checkpoints that stay.
      loud: whether a fallback to an older checkpoint, and slow storage, are reported on stderr.
    """

    def __init__(self, folder: str | Path, retention: RetentionPolicy = RetentionPolicy(), loud: bool = True):
        # Orbax also raises every error that it logs.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self.folder = Path(folder).resolve()
        self._keeping = retention
        self._loud = loud
        self._writer: ocp.CheckpointManager | None = None
        self._saving: tuple[int, int] | None = None
        self._best: Best | None = None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        try:
            self.close()
        except Exception:
            if kind is None:  # Otherwise the first error is the one to report.
                raise

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.is_dir() and path.name.isdigit())

    @property
    def latest(self) -> int | None:
        """The newest step, or None."""
        return next(iter(reversed(self.steps())), None)

    @property
    def best(self) -> int | None:
        """The step that is marked as the best, or None."""
        mark = read_best(self.folder)
        return None if mark is None else mark.step

    def save(self, step: int, state: TrainState, assets: Mapping[str, bytes]) -> None:
        """Copy the state off the devices and write it in the background, after waiting for the previous save.

        Raises:
          StorageError: this or the previous save could not be written; earlier checkpoints remain.
        """
        # A resumed run may reach a step that is already saved.
        if step not in self.steps():
            self._write(step, parts_of(state), assets)

    def export(self, step: int, params: Any, assets: Mapping[str, bytes]) -> None:
        """Write parameters alone; raises as `save`."""
        self._write(step, {"params": flat(params, "params")}, assets)
        self.wait()

    def wait(self) -> None:
        """Wait until the last save is complete on disk; raises as `save`."""
        if self._writer is not None:
            with self._told_of_writing():
                self._writer.wait_until_finished()
                self._writer.check_for_errors()

    def close(self) -> None:
        """Wait for the last save and end the background threads; raises as `save`."""
        if self._writer is not None:
            writer = self._writer
            try:
                self.wait()
            finally:
                self._writer = None
                writer.close()

    def measured(self, step: int, metrics: Mapping[str, float | None]) -> bool:
        """Mark the checkpoint of this step if it is the best so far by `retention.metric`; return whether it is.

        Raises:
          ValueError: there is no such metric.
          StorageError: the checkpoint, or the mark, could not be written.
        """
        if self._keeping.metric is None or step not in self.steps() + [self._saving and self._saving[0]]:
            return False
        self._open()
        won = is_better(self._keeping, metrics, self._best)
        if jax.process_count() > 1:  # All processes must delete the same checkpoints.
            # Metrics may differ in their last bits between processes, so the first process decides.
            won = bool(multihost_utils.broadcast_one_to_all(np.asarray(won)))
        # The mark names a complete checkpoint only, so wait for its save.
        if won:
            self.wait()
            self._best = Best(step, self._keeping.metric, self._keeping.mode, float(metric_of(self._keeping, metrics)))
            if jax.process_index() == 0:
                write_best(self.folder, self._best)
        return won

    def restore(self, abstract: TrainState, step: int | None = None) -> TrainState:
        """Return the state saved at `step`, or the newest intact one, with the shardings of `abstract`.

        Raises:
          CheckpointError: there is none, or its arrays have other names, shapes or dtypes.
          DamagedCheckpoint: the given step is damaged, or with no step given, all are.
        """

        def read(found: int) -> TrainState:
            wanted = parts_of(abstract)
            # An export has parameters only: it would restore without moments and counters, and start at step 0.
            if not self.is_resumable(found):
                raise CheckpointError(
                    f"{self.folder.parent} holds parameters alone, for inference; name it in training.init_from "
                    "to train a new run from them, in another workdir"
                )
            parts = {name: read_part(self.folder / str(found), name, part) for name, part in wanted.items()}
            return assemble(abstract, {name: array for part in parts.values() for name, array in part.items()})

        return self.newest(read, step)

    def restore_params(self, abstract_params: Any, step: int | None = None, ema: bool = False) -> Any:
        """Return the parameters alone, or their moving average, without reading the optimiser state.

        Parameters exported as bfloat16 are converted to the requested float32.

        Args:
          abstract_params: nested dicts of `jax.ShapeDtypeStruct`, with shardings.
          step: step of the checkpoint; None is the newest intact one.
          ema: whether to return the moving average.

        Raises:
          CheckpointError, DamagedCheckpoint: as `restore`.
        """
        part = "ema" if ema else "params"

        def read(found: int) -> Any:
            arrays = read_part(self.folder / str(found), part, flat(abstract_params, part), widen=True)
            return fill(abstract_params, part, arrays)

        return self.newest(read, step)

    def parameters(self, step: int | None = None) -> dict[str, np.ndarray]:
        """Return all parameters by dotted name, on the host, whatever the model; their moving average if one was kept.

        Raises:
          CheckpointError, DamagedCheckpoint: as `restore`.
        """
        # Replicated on every device, so that each process can copy all parameters to its host.
        whole = NamedSharding(Mesh(np.asarray(jax.devices()), ("all",)), PartitionSpec())

        def read(found: int) -> dict[str, np.ndarray]:
            record = read_record(self.folder / str(found) / RECORD)[0]
            part = "ema" if any(name.startswith("ema.") for name in record) else "params"
            wanted = {
                name: jax.ShapeDtypeStruct(tuple(array.shape), np.dtype(array.dtype), sharding=whole)
                for name, array in record.items()
                if name.startswith(part + ".")
            }
            arrays = read_part(self.folder / str(found), part, wanted)
            return {name.removeprefix(part + "."): _on_host(array) for name, array in arrays.items()}

        return self.newest(read, step)

    def restore_variables(self, abstract_variables: Any, step: int | None = None) -> Any:
        """Return a learner's variables beside its parameters (random streams, averages); see `restore_params`."""

        def read(found: int) -> Any:
            arrays = read_part(self.folder / str(found), "variables", flat(abstract_variables, "variables"))
            return fill(abstract_variables, "variables", arrays)

        return self.newest(read, step)

    def assets(self, step: int | None = None) -> dict[str, bytes]:
        """Return the files saved with the arrays by name: config.json, tokenizer, statistics."""
        return self.newest(lambda found: read_record(self.folder / str(found) / RECORD)[1], step)

    def quarantine_after(self, step: int) -> None:
        """Rename the checkpoints after `step`, which are damaged, so that the run can save these steps again."""
        if jax.process_index() == 0:
            for later in self.steps():
                if later > step:
                    _free_name(self.folder, later, self.folder / str(later))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("set aside damaged checkpoints")

    def is_resumable(self, step: int) -> bool:
        """Return whether a checkpoint has everything that training needs; an export does not."""
        return self.has(step, "rest")

    def has(self, step: int, part: str) -> bool:
        """Return whether a checkpoint has arrays of a part: `params`, `ema`, `variables` or `rest`."""
        return any(name.startswith(part + ".") for name in read_record(self.folder / str(step) / RECORD)[0])

    def _open(self) -> ocp.CheckpointManager:
        if self._writer is None:
            # Order matters: the mark must be known before the first save deletes old checkpoints.
            self._best = read_best(self.folder)
            if jax.process_index() == 0:
                remove_partial(self.folder)
            self._writer = make_manager(
                self.folder, preservation(self._keeping, lambda: self._best and self._best.step)
            )
        return self._writer

    def _write(self, step: int, parts: Mapping[str, Mapping[str, Any]], assets: Mapping[str, bytes]) -> None:
        """Start to write the parts and their record, once the previous save is complete."""
        self._wait_for_the_one_before()
        arrays = {name: array for part in parts.values() for name, array in part.items()}
        # Digests come from the devices before the copy to the host, so damage on the way to the disk is found later.
        found = digests(arrays)
        record = {name: ArrayRecord(a.shape, str(a.dtype), found[name]) for name, a in arrays.items()}
        items: dict[str, Any] = {name: arrays_to_save(part) for name, part in parts.items() if part}
        self._saving = step, sum(array.nbytes for array in arrays.values())
        items |= {RECORD: make_record(record, assets), WRITTEN: FilesSave()}
        with self._told_of_writing():
            self._open().save(step, args=ocp.args.Composite(**items))

    def _wait_for_the_one_before(self) -> None:
        """Wait for the previous save, and report a long wait."""
        start = time.perf_counter()
        self.wait()
        waited = time.perf_counter() - start
        if self._loud and self._saving is not None and waited > SLOW:
            print(
                f"storage is slow: the run waited {waited:.0f} s until the checkpoint of step {self._saving[0]} was "
                f"written in {self.folder}; raise training.save_every, or take faster storage",
                file=sys.stderr,
            )

    @contextlib.contextmanager
    def _told_of_writing(self) -> Iterator[None]:
        """Convert storage errors of a save into one line."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:  # TensorStore raises ValueError, Orbax any type; errors of other causes pass.
            step, size = self._saving or (0, 0)
            what = f"the checkpoint of step {step} ({size_in_words(size)}) could not be written"
            told = storage_error(error, what, self.folder, self._left())
            if told is None:
                raise
            # Orbax leaves unstarted tasks, and Python warns of each.
            warnings.filterwarnings("ignore", r"coroutine .* was never awaited", RuntimeWarning)
            raise told from error

    def _left(self) -> str:
        """Return a description of the checkpoints left after a failed save, and of the remedy."""
        last = "there is none before it" if self.latest is None else f"that of step {self.latest} is whole"
        return f"; {last}: run the same command to resume"

    def newest(self, read: Callable[[int], Found], step: int | str | None = None) -> Found:
        """Return the result of `read` for the given step, or else for the newest intact checkpoint.

        Args:
          read: takes a step; raises DamagedCheckpoint if it cannot be restored.
          step: a step, `best` for the marked one, or None.

        Raises:
          CheckpointError, DamagedCheckpoint: as `restore`.
        """
        steps = self.steps()
        if step == "best":
            step = self.best
            if step is None:
                raise CheckpointError(
                    f"no checkpoint in {self.folder} is marked as the best ({MARK}); set training.best to a metric "
                    f"of its evaluation when it trains, or give one of the steps {steps}"
                )
        if not steps or (step is not None and step not in steps):
            wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            there = f"there are steps {steps}" if steps else "train first"
            raise CheckpointError(f"{wanted} in {self.folder}; {there}")
        reason = ""
        # Steps [400, 800, 1200] of which 1200 is damaged: the newest intact one is 800. A given step has no fallback.
        for candidate in [step] if step is not None else reversed(steps):
            try:
                return read(candidate)
            except DamagedCheckpoint as error:
                reason = f"checkpoint of step {candidate} in {self.folder} is damaged: {error}"
                if self._loud and step is None and candidate != steps[0]:
                    print(f"{reason}; falling back on the one before it", file=sys.stderr)
        raise DamagedCheckpoint(f"{reason}; " + ("take another step" if step is not None else "no other is whole"))


def _on_host(array: jax.Array) -> np.ndarray:
    """Return an array as NumPy; bfloat16 becomes float32."""
    return np.asarray(array, np.float32 if array.dtype == jnp.bfloat16 else None)


def _free_name(folder: Path, step: int, source: Path) -> Path:
    """Rename a checkpoint to the first free name that marks it as damaged."""
    # Step 400 becomes damaged-400, or damaged-400-1 if that exists.
    number = 0
    while (target := folder / f"{DAMAGED}{step}{f'-{number}' if number else ''}").exists():
        number += 1
    return source.rename(target)
