"""A killed writer leaves a draft; the next write of that file removes it, and none of somebody who still writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from mmvideo.records.whole import draft_of, write_whole

KILLED = """
import os, signal, sys
from pathlib import Path
from mmvideo.records.whole import draft_of
with draft_of(Path(sys.argv[1])) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_write(tmp_path):
    path = tmp_path / "config.json"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".new")
    write_whole(path, "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    assert path.read_text() == "whole"


def test_drafts_of_others_stay_until_they_are_old(tmp_path):
    path = tmp_path / "config.json"
    mine, theirs, old = (tmp_path / f".config.json.{name}.new" for name in (f"far-{os.getpid()}", "far-7", "far-8"))
    for draft in (mine, theirs, old):
        draft.write_text("half")
    os.utime(old, (0, 0))
    (tmp_path / ".config.json.backup").write_text("mine")
    write_whole(path, "whole")
    assert mine.exists() and theirs.exists() and not old.exists()
    assert (tmp_path / ".config.json.backup").exists()


def test_a_failed_write_leaves_nothing_and_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, "old")
    with pytest.raises(RuntimeError), draft_of(path) as draft:
        draft.write_text("new")
        raise RuntimeError
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 1
