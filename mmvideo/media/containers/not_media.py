"""Description of a file that cannot be opened as media, from its bytes; it is mostly a failed or truncated download."""

from __future__ import annotations

import struct

ARCHIVES = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"%PDF": "a PDF",
}
"""First bytes of files that hold something else, and their names."""

PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"[playlist]")
"""First bytes of files that refer to media elsewhere, which is never opened."""

SHORT = 1 << 16
"""Number of bytes examined, except for the positions of boxes in an MP4."""


def what_it_is(head: bytes, size: int, boxes: list[tuple[str, int, int]]) -> str:
    """Describe a file that is not media, with a remedy.

    Args:
      head: its first bytes, `SHORT` or all.
      size: its size in bytes.
      boxes: boxes of an MP4, see `top_boxes`.

    Returns:
      A phrase such as "it is empty (0 bytes)"; a question if the file is unknown.
    """
    text = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "it is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; 'git lfs pull' fetches the file itself"
    if text.startswith((b"<!doctype html", b"<html")):
        return "it is an HTML page, which a failed download leaves; download it again"
    if head.startswith(PLAYLISTS):
        return "it is a playlist, which names other files; give those"
    if found := next((name for start, name in ARCHIVES.items() if head.startswith(start)), None):
        return f"it is {found}; give the media in it"
    if boxes:
        return _about_boxes(boxes, size)
    if not any(head):
        return f"its first {len(head)} bytes are zeros, as a download that was begun leaves them; download it again"
    return "it is text" if _is_text(head) else "is it whole, and media?"


def top_boxes(head: bytes, size: int) -> list[tuple[str, int, int]]:
    """Return type, position and length of the outermost boxes of an MP4 or MOV, as far as `head` reaches; else nothing.

    A box begins with its length in 4 bytes and its type in 4 (ISO/IEC 14496-12, section 4.2). With a length of 1 the
    next 8 bytes hold the length, and with 0 the box lasts to the end of the file.
    """
    boxes, at = [], 0
    while at + 8 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, at)
        if length == 1 and at + 16 <= len(head):
            length = struct.unpack_from(">Q", head, at + 8)[0]
        length = length or size - at
        if not kind.isalnum() or length < 8 or (not boxes and kind not in (b"ftyp", b"moov", b"mdat", b"wide")):
            break
        boxes.append((kind.decode("ascii"), at, length))
        at += length
    return boxes


def _about_boxes(boxes: list[tuple[str, int, int]], size: int) -> str:
    kind, at, length = boxes[-1]
    if at + length > size:
        held = f"has {length} bytes, the file ends after {size - at} of them"
        return f"it is cut short: its box '{kind}' at byte {at} {held}"
    if "moov" not in {kind for kind, _, _ in boxes}:
        return "it has no index (box 'moov'), as a recording that was broken off leaves it"
    return "is it whole, and media?"


def _is_text(head: bytes) -> bool:
    """Return whether bytes are UTF-8 without control characters; the last character may be cut."""
    try:
        text = head[:-3].decode() if len(head) == SHORT else head.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n\f" for character in text)
