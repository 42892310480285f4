"""Settings of Orbax's writer: background writes, and small arrays in one part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

SHARED = 2**20
"""Smallest part of an array, in bytes, that a replica writes on its own.

Orbax lets devices with the same array each write a part of it, which pays for large arrays. With eight devices, an
array of 8 MiB is written in eight parts. A bias of 3 KiB would be eight parts of 384 bytes, each with a program and a
chunk; here the first device writes all of it. The content of a checkpoint does not change.
"""


def arrays_to_save(arrays: dict[str, jax.Array]) -> Any:
    """Return the request to write these arrays, for a manager of `make_manager`."""
    return ocp.args.PyTreeSave(arrays)


def make_manager(folder: Path, preservation: Any) -> ocp.CheckpointManager:
    """Return a manager of the checkpoints in a folder, which it creates.

    Args:
      folder: folder of the checkpoints.
      preservation: Orbax's policy for the checkpoints that stay.
    """
    options = ocp.CheckpointManagerOptions(
        preservation_policy=preservation,
        create=True,
        cleanup_tmp_directories=True,
        lightweight_initialize=True,  # Otherwise it reads files that nothing else depends on.
        enable_async_checkpointing=True,
        # Created in the background, a forbidden folder would be noticed only after minutes.
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
