"""Results of an evaluation, and their files in the workdir.

`evals/NAME.json` holds metrics and protocol, its own SHA-256, and the SHA-256 of `evals/NAME.predictions.jsonl`, which
has one object a clip. A changed byte in either file is noticed when it is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from pathlib import Path
from typing import Any

import jax

from mmvideo.records.sealed import DamagedRecord, seal, unseal
from mmvideo.records.whole import write_whole

KEYS = ("metrics", "dataset", "split", "clips", "protocol", "details", "checkpoint_step")
"""Keys of files from before digests were written."""

PREDICTIONS = "predictions_sha256"


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Results of an evaluator.

    Attributes:
      metrics: Value by name.
      predictions: One object a clip: `id`, `truth`, `scores`.
      protocol: Meaning of the metrics, in words and settings.
      dataset: Name of the dataset.
      split: Name of the split.
      clips: Number of clips that were seen.
      details: Other content for the report, as JSON: a confusion matrix, curves, samples.
    """

    metrics: dict[str, float | int]
    predictions: list[dict[str, Any]]
    protocol: dict[str, Any]
    dataset: str
    split: str
    clips: int
    details: dict[str, Any] = dataclasses.field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return the content of `evals/NAME.json` except for the step; a metric that is not finite is None."""
        return {
            "metrics": {name: _plain(value) for name, value in self.metrics.items()},
            "dataset": self.dataset,
            "split": self.split,
            "clips": self.clips,
            "protocol": self.protocol,
            **({"details": self.details} if self.details else {}),
        }


def write_result(workdir: str | Path, name: str, result: EvaluationResult, step: int) -> Path | None:
    """Write `evals/NAME.json` and `evals/NAME.predictions.jsonl`, each as a whole or not at all.

    Only the first process writes; the others return None. The metrics are written last: if they exist, so do their
    predictions.
    """
    if jax.process_index() != 0:
        return None
    folder = Path(workdir) / "evals"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in result.predictions)
    # A caption may hold half of a surrogate pair, which UTF-8 can't encode.
    lines = lines.encode("utf-8", "backslashreplace").decode()
    write_whole(folder / f"{name}.predictions.jsonl", lines)
    # The digest of the predictions is inside the sealed metrics: a pair of files from two runs is noticed.
    whole = {**result.content(), "checkpoint_step": int(step), PREDICTIONS: _digest(lines.encode())}
    write_whole(folder / f"{name}.json", _laid_out(seal(whole)))
    return folder / f"{name}.json"


def read_result(path: Path) -> dict[str, Any]:
    """Return the content of `evals/NAME.json`.

    Raises:
      DamagedRecord: The file differs from what was written.
    """
    try:
        found = unseal(path.read_bytes(), str(path), KEYS)
        if not isinstance(found.get("metrics"), dict):
            raise DamagedRecord(f"{path} is damaged: it has no metrics")
    except DamagedRecord as error:
        raise DamagedRecord(f"{error}; remove it, and run mmvideo eval {path.parent.parent} to measure again") from None
    return found


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """Return the predictions that belong to `evals/NAME.json`; an empty list if there are none.

    Raises:
      DamagedRecord: One of the two files differs from what was written.
    """
    expected = read_result(path).get(PREDICTIONS)
    lines = path.with_name(f"{path.stem}.predictions.jsonl")
    data = lines.read_bytes() if lines.is_file() else b""
    if expected is not None and expected != _digest(data):
        why = f"its SHA-256 is {_digest(data)[:16]}…, and was {expected[:16]}…" if data else "it is missing"
        raise DamagedRecord(f"{lines} is damaged: {why}; run mmvideo eval {path.parent.parent} to measure again")
    try:
        return [json.loads(line) for line in data.split(b"\n") if line.strip()]
    except ValueError as error:
        raise DamagedRecord(f"{lines} is damaged: {error}; run mmvideo eval {path.parent.parent}") from None


def measured(workdir: str | Path, name: str, step: int) -> dict[str, float | int | None] | None:
    """Return the metrics of `evals/NAME.json` if they are of this step, else None.

    A damaged file is measured again, with a warning. A file from before digests can't be verified, and is measured
    again too.
    """
    path = Path(workdir) / "evals" / f"{name}.json"
    try:
        # Without KEYS, a file from before digests is refused: a resumed run must not trust it.
        written = unseal(path.read_bytes(), str(path))
        if written["checkpoint_step"] != step:
            return None
        read_predictions(path)
        return written["metrics"]
    except OSError:
        return None
    except (DamagedRecord, KeyError) as error:
        if jax.process_index() == 0:
            print(f"mmvideo: {str(error).split(';')[0]}; it is measured again", file=sys.stderr)
        return None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _laid_out(whole: dict[str, Any]) -> str:
    """Return indented JSON, except for the details: they are one last line, because a matrix may be large."""
    head = {name: value for name, value in whole.items() if name != "details"}
    text = json.dumps(head, indent=2)
    if "details" in whole:
        text = f'{text[:-2]},\n  "details": {json.dumps(whole["details"])}\n}}'
    return text + "\n"


def _plain(value: Any) -> float | int | None:
    """Return a number for JSON; None for one that is not finite."""
    value = value.item() if hasattr(value, "item") else value
    return value if math.isfinite(value) else None
