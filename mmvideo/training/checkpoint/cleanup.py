"""What a save that did not end left behind, and its removal.

Orbax removes such folders too, but in the background and in one try. After a save that failed in this process, threads
of TensorStore may still write the files that they had begun, and make the folders anew that hold them.
"""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

from orbax.checkpoint.utils import TMP_DIR_SUFFIX

PAUSE, LONGEST = 0.1, 30.0
"""Seconds between two looks, and of all of them together."""

MOVING = (errno.ENOTEMPTY, errno.ENOENT)
"""What removing a folder raises in which somebody writes or removes files."""


def remove_partial(folder: Path) -> None:
    """Removes what unfinished saves left in a folder of checkpoints, until nothing comes back.

    Raises:
      OSError: something can't be removed, or is still written to after `LONGEST` seconds.
    """
    end = time.monotonic() + LONGEST
    while found := list(folder.glob(f"*{TMP_DIR_SUFFIX}*")):
        for path in found:
            try:
                shutil.rmtree(path)
            except OSError as error:
                if error.errno not in MOVING or time.monotonic() > end:
                    raise
        time.sleep(PAUSE)
