"""Record of all faults met while a track or a file was read."""

from __future__ import annotations


class Damage:
    """Counter of faults by description; each is reported once, with the time of the first.

    Example: two packets at 1.2 s and 1.3 s that the decoder refuses are reported as "2 packets of the picture cannot be
    decoded, the first at 1.200 s (Invalid data found when processing input)".
    """

    def __init__(self) -> None:
        self._faults: dict[str, tuple[int, float | None, str]] = {}

    def __bool__(self) -> bool:
        return bool(self._faults)

    def note(self, fault: str, time: float | None = None, cause: str = "", count: int = 1) -> None:
        """Count a fault, such as "packets of the sound cannot be decoded", at a time in seconds."""
        before, first, first_cause = self._faults.get(fault, (0, time, cause))
        self._faults[fault] = (before + count, first, first_cause)

    def words(self) -> list[str]:
        """Return a phrase for each fault."""
        return [
            f"{count} {fault if count > 1 else _one(fault)}"
            + (f", the first at {first:.3f} s" if first is not None else "")
            + (f" ({cause})" if cause else "")
            for fault, (count, first, cause) in self._faults.items()
        ]


def _one(fault: str) -> str:
    """Return the phrase for a single packet or sample."""
    words = {"packets of": "packet of", "samples are": "sample is", " are ": " is ", "finite numbers": "finite number"}
    for several, single in words.items():
        fault = fault.replace(several, single)
    return fault
