"""What an unfinished save left is removed, even where it is still being written."""

from __future__ import annotations

import threading
import time

from orbax.checkpoint.utils import TMP_DIR_SUFFIX

from mmvideo.training.checkpoint import cleanup


def test_a_folder_that_is_still_written_to_is_gone_in_the_end(tmp_path):
    (tmp_path / "1").mkdir()
    left = tmp_path / f"2{TMP_DIR_SUFFIX}"
    begun = threading.Event()

    def write():
        end = time.monotonic() + 0.5
        for number in range(10**6):
            try:
                (left / "arrays").mkdir(parents=True, exist_ok=True)
                (left / "arrays" / str(number)).write_bytes(b"half")
            except FileNotFoundError:  # The folder went in between.
                continue
            begun.set()
            if time.monotonic() > end:
                return

    writer = threading.Thread(target=write)
    writer.start()
    begun.wait()
    cleanup.remove_partial(tmp_path)
    writer.join()
    cleanup.remove_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_a_folder_without_leftovers_or_none_at_all_is_left_alone(tmp_path):
    cleanup.remove_partial(tmp_path)
    cleanup.remove_partial(tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())
