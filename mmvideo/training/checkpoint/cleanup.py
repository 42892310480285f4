"""Removal of the remains of an interrupted save.

Orbax removes such folders too, but in the background and only once. After a failed save in this process, threads of
TensorStore may still write files that they had begun, and recreate their folders.
"""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

from orbax.checkpoint.utils import TMP_DIR_SUFFIX

PAUSE, LONGEST = 0.1, 30.0
"""Seconds between two attempts, and total seconds."""

MOVING = (errno.ENOTEMPTY, errno.ENOENT)
"""Errors of removing a folder in which another thread writes or removes files."""


def remove_partial(folder: Path) -> None:
    """Remove the remains of unfinished saves from a folder of checkpoints, until none come back.

    Raises:
      OSError: something cannot be removed, or is still written to after `LONGEST` seconds.
    """
    end = time.monotonic() + LONGEST
    # Removing and looking again catches folders that a thread recreates in between.
    while found := list(folder.glob(f"*{TMP_DIR_SUFFIX}*")):
        for path in found:
            try:
                shutil.rmtree(path)
            except OSError as error:
                if error.errno not in MOVING or time.monotonic() > end:
                    raise
        time.sleep(PAUSE)
