"""The trial of a folder leaves nothing behind, and says what is not possible there."""

from __future__ import annotations

import os

import pytest

from mmvideo.training.checkpoint import storage_probe
from mmvideo.training.checkpoint.storage_probe import try_storage


def test_a_folder_is_tried_and_left_as_it_was(tmp_path):
    found = try_storage(tmp_path / "runs" / "new", size=2**20 + 5)
    assert min(found.write, found.read) > 0 and found.free > 0
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(OSError, match="doctor"):
        try_storage("/proc/run", size=10)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        try_storage(tmp_path, size=10)
    assert list(tmp_path.iterdir()) == []


def test_other_bytes_than_were_written_are_seen(tmp_path, monkeypatch):
    def rot(path):
        path.write_bytes(b"\0" * path.stat().st_size)

    monkeypatch.setattr(storage_probe, "_forget", rot)
    with pytest.raises(ValueError, match="comes back with other bytes"):
        try_storage(tmp_path, size=1000)
