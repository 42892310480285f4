"""Comparison of a resumed run's data with its training data: tokenizer, classes, spectrogram and corpora.

Weights depend on the numbering of text tokens and classes, and the progress of a run is a step in one order of one
corpus. A rebuilt corpus has the same path but may differ. Each checkpoint holds the determining files. Their paths do
not count, so a corpus may be moved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmvideo.training.checkpoint.checkpoint_manifest import RECORD, read_record
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints
from mmvideo.training.workdir import PATHS, WorkdirError, differences

CONFIG, CORPORA, TOKENIZER = "config.json", "corpora.json", "tokenizer.model"

MEANING = (TOKENIZER, "classes.json", "annotations.json", "spectrogram.json", "spec.json", CORPORA)
"""Files that a run must have if its checkpoint has them."""

GROWING = ("spec.json", "spectrogram.json", CORPORA)
"""Files that may hold more entries than those of an older checkpoint."""

SHOWN = 3
"""Number of differences of a file that are listed; the rest are counted."""


def kept_files(folder: Path) -> dict[str, bytes]:
    """Return the files of the newest checkpoint with an intact record; none if there is no such checkpoint."""
    with Checkpoints(folder, loud=False) as checkpoints:
        try:
            return checkpoints.newest(lambda step: read_record(checkpoints.folder / str(step) / RECORD)[1])
        except CheckpointError:  # The restore reports the reason.
            return {}


def moved_paths(there: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the settings that may change because a checkpoint holds the content behind them: patterns of dotted
    names."""
    known = {"input.sources.*.path": CORPORA, "input.text.tokenizer": TOKENIZER}
    return tuple(path for path in PATHS if known[path] in there)


def check_resumed(
    workdir: Path, there: Mapping[str, bytes], here: Mapping[str, bytes], may_differ: Sequence[str]
) -> None:
    """Compare the files of a checkpoint with those of the resumed run.

    Args:
      workdir: workdir of the run, for the error message.
      there: files of the checkpoint by name; an empty mapping means a new run.
      here: files of this start by name.
      may_differ: patterns of dotted names of settings.

    Raises:
      WorkdirError: the files differ; the message lists the differences.
    """
    found = []
    for name in sorted(there):
        if name not in here:
            if name in MEANING:
                found.append(f"{name} is in the checkpoint alone")
        elif there[name] != here[name]:
            found += _of_file(name, there[name], here[name], (*may_differ, *PATHS))
    if found:
        raise WorkdirError(
            f"{workdir} was trained on something else than it would go on with: {'; '.join(found)}. Give it "
            "what it was trained on (a corpus that was moved: --input.sources.0.path FOLDER), or take another "
            f"workdir and begin from these weights: --training.init_from {workdir}"
        )


def _of_file(name: str, there: bytes, here: bytes, may_differ: Sequence[str]) -> list[str]:
    """Return descriptions of the differences in a file; empty if there is no relevant one."""
    if name == TOKENIZER:
        return [_of_tokenizers(there, here)]
    try:
        old, new = json.loads(there), json.loads(here)
    except ValueError:
        return [f"{name} has {len(there)} bytes there and {len(here)} here, and they differ"]
    if name == CORPORA:
        return _of_corpora(old, new)
    found = differences(old, new, may_differ if name == CONFIG else ())
    if name in GROWING:
        # The checkpoint is older than a field: a field that it lacks is no difference.
        found = [one for one in found if '("absent" there' not in one]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    stem = name.removesuffix(".json")
    return [f"{stem}: {', '.join(found[:SHOWN])}{more}"] if found else []


def _of_corpora(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return descriptions of the corpora that differ, by digest and number of clips."""
    old, new = there.get("sources", []), here.get("sources", [])
    found = [f"{len(old)} corpora there, {len(new)} here"] if len(old) != len(new) else []
    for place, (one, other) in enumerate(zip(old, new, strict=False)):
        if one != other:
            sides = (f"{side['clips']} clips, digest {side['digest'][:16]}…" for side in (one, other))
            found.append("input.sources.{} is another corpus ({} there; {} here)".format(place, *sides))
    if there.get("embeddings") != here.get("embeddings") and there.get("embeddings"):
        digests = (str(side.get("embeddings"))[:16] for side in (there, here))
        found.append("input.embeddings is another file (digest {}… there, {}… here)".format(*digests))
    return found


def _of_tokenizers(there: bytes, here: bytes) -> str:
    """Return the number of tokens that differ, with the first of them."""
    try:
        old, new = _pieces(there), _pieces(here)
    except (RuntimeError, ValueError, OSError):
        return f"{TOKENIZER} differs ({len(there)} bytes there, {len(here)} here)"
    if len(old) != len(new):
        return f"the tokenizer is another one ({len(old)} pieces there, {len(new)} here)"
    # Old tokens [a, b, c], new [a, c, b]: numbers 1 and 2 differ.
    moved = [number for number, (one, other) in enumerate(zip(old, new, strict=True)) if one != other]
    if not moved:
        return "the tokenizer has the same pieces, and cuts text in another way"
    first = moved[0]
    return (
        f"the tokenizer is another one: {len(moved)} of {len(old)} pieces differ, such as number {first} "
        f"({old[first]!r} there, {new[first]!r} here)"
    )


def _pieces(model: bytes) -> list[str]:
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(number) for number in range(processor.get_piece_size())]
