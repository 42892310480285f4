"""The settings with which Orbax writes: in the background, and small arrays in one piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

SHARED = 2**20
"""Bytes from which a part of an array is worth a transfer of its own.

Orbax lets the devices that hold the same array write a part of it each, which pays where the array is large: with
eight of them, an array of 8 MiB is written in eight parts, and a bias of 3 KiB, once cut into eight parts of 384
bytes with a program and a chunk for each, by the first of them alone. What a checkpoint holds is the same.
"""


def arrays_to_save(arrays: dict[str, jax.Array]) -> Any:
    """Return what tells a manager of `make_manager` to write these arrays."""
    return ocp.args.PyTreeSave(arrays)


def make_manager(folder: Path, preservation: Any) -> ocp.CheckpointManager:
    """Return a manager of the checkpoints in a folder, which it makes.

    Args:
      folder: of the checkpoints.
      preservation: Orbax's policy, which says what checkpoints stay.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=preservation,
        create=True,
        cleanup_tmp_directories=True,
        lightweight_initialize=True,  # Else it reads files that nothing else depends on.
        enable_async_checkpointing=True,
        # What forbids to make them is found in no other way than by waiting for minutes.
        async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
    )
    # Random keys are saved as their words and every array by its digest: Orbax's own notes on arrays add nothing.
    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=SHARED)
    kinds = ocp.type_handlers.create_type_handler_registry(
        (jax.Array, arrays), (np.ndarray, ocp.type_handlers.NumpyHandler())
    )
    handlers = ocp.handlers.DefaultCheckpointHandlerRegistry()
    handlers.add(None, ocp.args.PyTreeSave, ocp.PyTreeCheckpointHandler(type_handler_registry=kinds))
    return ocp.CheckpointManager(folder, options=options, handler_registry=handlers)
