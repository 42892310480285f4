"""JSON objects with the SHA-256 of their other content, so that any changed byte is detected."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

SEAL = "sha256"


class DamagedRecord(ValueError):
    """A file of a run's record differs from what was written; the message has its name and the difference."""


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object, as JSON parses it, with its seal in front."""
    # Tuples become lists before the digest, as they will be after reading.
    plain = json.loads(json.dumps(content))
    return {SEAL: _digest(plain), **plain}


def unseal(data: bytes, where: str, unsealed: Collection[str] = ()) -> dict[str, Any]:
    """Return the object that was sealed.

    Args:
      data: the file's bytes.
      where: its name, for the error.
      unsealed: keys of older objects without a seal; an object with only these keys is accepted.

    Raises:
      DamagedRecord: the bytes are no JSON object, or differ from what was sealed.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:  # Bytes that are no UTF-8 are a ValueError, too.
        raise DamagedRecord(f"{where} is damaged: it is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DamagedRecord(f"{where} is damaged: it holds no JSON object")
    told = content.pop(SEAL, None)
    if told is None:
        if content and set(content) <= set(unsealed):
            return content
        raise DamagedRecord(f"{where} is damaged: it has no '{SEAL}'")
    now = _digest(content)
    if told != now:
        raise DamagedRecord(f"{where} is damaged: its SHA-256 is {now}, and was {told}")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
