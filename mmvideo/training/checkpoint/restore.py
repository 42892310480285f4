"""Restoration of arrays from a checkpoint, after comparing names, shapes, files and digests.

Only provable damage counts as damage. If storage fails to return the bytes, the checkpoint may be intact, and the run
ends instead of falling back to an older one.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from mmvideo.training.checkpoint.checkpoint_manifest import (
    RECORD,
    ArrayRecord,
    CheckpointError,
    DamagedCheckpoint,
    check_files,
    read_record,
)
from mmvideo.training.checkpoint.checksums import digests
from mmvideo.training.checkpoint.storage_errors import StorageError, storage_error

FINE, BAD, UNREACHABLE = 0, 1, 2
"""Outcome of reading a part in one process."""

Found = TypeVar("Found")


def read_part(folder: Path, part: str, wanted: Mapping[str, Any], widen: bool = False) -> dict[str, jax.Array]:
    """Return the arrays of one part of a checkpoint, compared with the requested ones and with their digests.

    Args:
      folder: folder of the checkpoint.
      part: folder in the checkpoint.
      wanted: `jax.ShapeDtypeStruct` with shardings, by dotted name.
      widen: whether an array saved as bfloat16 is accepted where float32 is requested.

    Raises:
      CheckpointError: the saved arrays have other names, shapes or dtypes.
      DamagedCheckpoint: the arrays differ from the saved ones.
      StorageError: the arrays may be intact, but cannot be read.
    """
    # Array names start with their part: `params.trunk.norms.0.scale` belongs to `params`.
    record = {n: r for n, r in read_record(folder / RECORD)[0].items() if n.split(".")[0] == part}
    dtypes = {name: array.dtype for name, array in wanted.items()}
    wanted = {name: _as_saved(array, record.get(name)) if widen else array for name, array in wanted.items()}
    _compare(f"checkpoint of step {folder.name} in {folder.parent}", record, wanted)
    if not wanted:
        return {}
    arrays = _read_arrays(folder, part, wanted)
    # Digests are computed again on the devices, after everything that Orbax does while reading.
    wrong = [name for name, found in digests(arrays).items() if found != record[name].digest]
    if wrong:
        raise DamagedCheckpoint(f"array {wrong[0]} is not what was saved" + _more(wrong))
    return {name: array.astype(dtypes[name]) for name, array in arrays.items()}


def _read_arrays(folder: Path, part: str, wanted: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Return the stored arrays."""

    def check() -> None:
        if jax.process_index() == 0:
            check_files(folder, part)

    def read() -> dict[str, jax.Array]:
        with _one_complaint_only(), ocp.StandardCheckpointer() as reader:
            return reader.restore(folder / part, dict(wanted))

    _agree_across_hosts(check, folder, part)
    return _agree_across_hosts(read, folder, part)


def _agree_across_hosts(action: Callable[[], Found], folder: Path, part: str) -> Found:
    """Return the result of an action in this process; if it fails in any process, all of them raise the same error.

    Raises:
      DamagedCheckpoint: the checkpoint is damaged.
      StorageError: the storage failed.
    """
    found, outcome, failure = None, FINE, None
    try:
        found = action()
    except DamagedCheckpoint as error:
        outcome, failure = BAD, error
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:  # Damaged bytes make Orbax and TensorStore raise nearly any type of error.
        unreachable = storage_error(error, f"{part} could not be read", folder)
        told = (str(error).splitlines() or ["no more is told"])[0]
        reason = f"{part} cannot be read ({type(error).__name__}: {told[:200]})"
        outcome, failure = (UNREACHABLE, unreachable) if unreachable else (BAD, DamagedCheckpoint(reason))
    if jax.process_count() > 1:
        # The worst outcome of any process counts: FINE 0 < BAD 1 < UNREACHABLE 2.
        outcome = int(np.max(multihost_utils.process_allgather(np.asarray(outcome))))
    if outcome == UNREACHABLE:
        raise failure or StorageError(f"another process could not read {folder / part}; look at what it says")
    if outcome == BAD:
        raise failure or DamagedCheckpoint(f"another process found {part} damaged")
    return found


def _as_saved(wanted: jax.ShapeDtypeStruct, saved: ArrayRecord | None) -> jax.ShapeDtypeStruct:
    """Return a requested float32 array in its saved dtype, if that is bfloat16; the conversion loses nothing."""
    # bfloat16 is the upper half of float32, so every value has an exact float32.
    if saved is None or saved.dtype != "bfloat16" or wanted.dtype != np.float32:
        return wanted
    return jax.ShapeDtypeStruct(wanted.shape, jnp.bfloat16, sharding=wanted.sharding)


@contextlib.contextmanager
def _one_complaint_only() -> Iterator[None]:
    """Keep asyncio from repeating one read error for each array of a part."""
    log = logging.getLogger("asyncio")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except Exception:
        gc.collect()  # asyncio logs the error when a failed future is collected.
        raise
    finally:
        log.setLevel(level)


def _compare(what: str, record: Mapping[str, ArrayRecord], wanted: Mapping[str, Any]) -> None:
    """Check that the saved arrays have the requested names, shapes and dtypes."""
    saved = {name: f"{array.dtype}{list(array.shape)}" for name, array in record.items()}
    needed = {name: f"{np.dtype(array.dtype)}{list(array.shape)}" for name, array in wanted.items()}
    wrong = [
        f"{name} is {saved.get(name, 'absent')} there and {needed.get(name, 'absent')} here"
        for name in sorted(saved.keys() | needed.keys())
        if saved.get(name) != needed.get(name)
    ]
    if wrong:
        raise CheckpointError(
            f"{what} is of another shape: {'; '.join(wrong[:3])}{_more(wrong, 3)}; "
            "use the settings it was trained with, or another workdir"
        )


def _more(items: list[str], shown: int = 1) -> str:
    return f" (and {len(items) - shown} more)" if len(items) > shown else ""
