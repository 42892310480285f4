"""Check of the array sizes that an .npz file claims, before memory is allocated for them."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

from numpy.lib import format as npy

MOST = 1100
"""Largest expansion factor of a compressed array; deflate reaches 1032 at most."""


class OversizedArray(ValueError):
    """An array that claims more bytes than its file can hold; the message has its name and both sizes."""


def check_sizes(path: str | Path) -> None:
    """Compare the size that each array's header claims with the size that the file holds.

    A header is a few bytes, and NumPy allocates the claimed memory before it reads on: 128 bytes may claim 4 TiB.

    Raises:
      OversizedArray: an array claims a size that differs from that of its member of the file.
      zipfile.BadZipFile, ValueError: the file is not an .npz file.
    """
    room = Path(path).stat().st_size
    with zipfile.ZipFile(path) as file:
        told, there = _members(path), len(file.infolist())
        if told != there % 2**16:  # A damaged entry may swallow the next.
            raise zipfile.BadZipFile(f"it has {there} arrays, and tells of {told}")
        for member in file.infolist():
            with file.open(member) as data:
                claimed, header = _claimed(data)
            there = member.file_size - header
            # Second test: a zip entry may itself claim a size that its compressed bytes cannot reach.
            if claimed != there or member.file_size > room * MOST:
                raise OversizedArray(
                    f"{path}: array {member.filename.removesuffix('.npy')!r} claims {claimed:,} bytes, and the file "
                    f"of {room:,} bytes holds {there:,} of it: it is damaged; write it again"
                )


def _members(path: str | Path) -> int:
    """Return the number of members that the end of the archive states; zipfile ignores it."""
    with open(path, "rb") as file:
        file.seek(-min(Path(path).stat().st_size, 2**16 + 22), 2)
        end = file.read()
    place = end.rfind(b"PK\5\6")
    return int.from_bytes(end[place + 10 : place + 12], "little")


def _claimed(data) -> tuple[int, int]:
    """Return the size in bytes of the array that a header claims, and the size of the header."""
    version = npy.read_magic(data)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(data)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return math.prod(shape) * dtype.itemsize, data.tell()
