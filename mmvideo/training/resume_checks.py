"""Comparison of a resumed run's data with the data it was trained on: tokenizer, classes, spectrogram and corpora.

Weights mean something only with the numbers that pieces of text and classes have, and a run's place in its data is a
step of one order of one corpus. A corpus that was built again lies under the same path and may be another. Each
checkpoint holds what decides; where it lies doesn't count, so that a corpus may be moved.
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
"""Files that a run must have where its checkpoint has them."""

GROWING = ("spec.json", "spectrogram.json", CORPORA)
"""Files that may tell more than those of a checkpoint of before, which was without it."""

SHOWN = 3
"""Differences of a file that are told, before it says how many more there are."""


def kept_files(folder: Path) -> dict[str, bytes]:
    """Return the files of the newest checkpoint whose record is whole; none where there is no such checkpoint."""
    with Checkpoints(folder, loud=False) as checkpoints:
        try:
            return checkpoints.newest(lambda step: read_record(checkpoints.folder / str(step) / RECORD)[1])
        except CheckpointError:  # Whoever restores it is told why.
            return {}


def moved_paths(there: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return the settings that may differ since a checkpoint holds what lies there: patterns of dotted names."""
    known = {"input.sources.*.path": CORPORA, "input.text.tokenizer": TOKENIZER}
    return tuple(path for path in PATHS if known[path] in there)


def check_resumed(
    workdir: Path, there: Mapping[str, bytes], here: Mapping[str, bytes], may_differ: Sequence[str]
) -> None:
    """Compare what a checkpoint was trained on with what its run would go on with.

    Args:
      workdir: the run, for the error.
      there: files of the checkpoint by name; none at all is a new run.
      here: the same of this start.
      may_differ: patterns of dotted names in the settings.

    Returns:
    Raises:
      WorkdirError: they differ; it says in what.
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
    """Return the differences in a file, in words; empty where it means the same."""
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
        found = [one for one in found if '("absent" there' not in one]
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    stem = name.removesuffix(".json")
    return [f"{stem}: {', '.join(found[:SHOWN])}{more}"] if found else []


def _of_corpora(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return the corpora that are others, by digest and number of clips."""
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
    """Return the number of pieces that mean another thing, and the first of them."""
    try:
        old, new = _pieces(there), _pieces(here)
    except (RuntimeError, ValueError, OSError):
        return f"{TOKENIZER} differs ({len(there)} bytes there, {len(here)} here)"
    if len(old) != len(new):
        return f"the tokenizer is another one ({len(old)} pieces there, {len(new)} here)"
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
