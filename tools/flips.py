"""Flip bits in a corpus, in kept batches and in a run's records, and check that none passes in silence.

A flip is fine if the data read equals the data written (a date in an archive has no effect), if an error or a line on
stderr names the file, if a clip is skipped with its reason, or if the damaged data is computed again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass
class Row:
    """A line of the table.

    Attributes:
      fault: the kind of damage.
      done: number of trials.
      fine: number of trials with a correct outcome.
      note: further remarks.
    """

    fault: str
    done: int
    fine: int
    note: str


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one bit flipped."""
    broken = bytearray(data)
    broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def flip_each(what: str, folder: Path, flips: int, chance: random.Random, read: Callable[[], tuple[Any, bool]]) -> Row:
    """Flip one bit at a time in a file of a folder, small files as often as large ones, and read the folder.

    Args:
      what: name of the flipped data, for the table.
      folder: its files.
      flips: number of flips.
      chance: random generator that chooses the bits.
      read: returns the content, for comparison with the original, and whether it reported damage; a ValueError or
        an OSError also counts as a report.
    """
    sound, told = read()
    if told:
        return Row(what, flips, 0, "what was not damaged was called so")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    fine, found = 0, 0
    for _ in range(flips):
        path = chance.choice(files)
        data = path.read_bytes()
        path.write_bytes(flipped(data, chance))
        error = ""
        try:
            now, told = read()
            same = _equal(now, sound)
        except (ValueError, OSError) as raised:
            error, same, told = str(raised), False, str(folder) in str(raised)
        found += told
        if told or same:
            fine += 1
        else:
            print(f"a flip in {path.relative_to(folder)} was not told of: {error or 'in silence'}", file=sys.stderr)
        path.write_bytes(data)
    return Row(what, flips, fine, f"in {len(files)} files; {found} told of, {fine - found} changed nothing")


def flip_corpus(folder: Path, flips: int, chance: random.Random) -> Row:
    """Flip bits in a corpus, and compute all its batches."""
    corpus = _shapes(folder)

    def read() -> tuple[Any, bool]:
        from mmvideo.input.pipeline import Batches

        found, skipped = [], []
        for split in ("train", "test"):
            batches = Batches(_input(corpus, split), masked=False, train=False)
            found += [batches.batch(step) for step in range(batches.steps_per_epoch)]
            skipped += batches.skipped
        return found, bool(skipped)

    return flip_each("bit of a corpus", corpus, flips, chance, read)


def flip_kept(folder: Path, flips: int, chance: random.Random) -> Row:
    """Flip bits in kept batches; damaged ones are computed again, so that all equal the originals."""
    keep = folder / "kept"
    config = dataclasses.replace(_input(_shapes(folder), "train"), keep=str(keep))

    def read() -> tuple[Any, bool]:
        from mmvideo.input.pipeline import Batches

        return [batch for _, batch in Batches(config).iterate(0, 4)], False

    read()
    return flip_each("bit of a kept batch", keep, flips, chance, read)


def flip_records(folder: Path, flips: int, chance: random.Random) -> Row:
    """Flip bits in all files that a run writes besides its checkpoints, and in a file of embeddings."""
    from mmvideo.input.annotations.teacher_embeddings import read_teacher_embeddings
    from mmvideo.training.checkpoint.retention import read_best

    workdir = _run(folder / "recorded")

    def read() -> tuple[Any, bool]:
        from mmvideo.evaluation.results import read_predictions, read_result
        from mmvideo.experiment.weights.verified_config import load_run
        from mmvideo.records.lines import read_lines

        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            lines = [read_lines(workdir / f"{name}.jsonl") for name in ("ledger", "metrics", "skipped")]
            evaluation = workdir / "evals" / "retrieval.json"
            best = dataclasses.astuple(read_best(workdir / "checkpoints"))
            vectors = read_teacher_embeddings(workdir / "embeddings.npz")
            found = [lines, read_result(evaluation), read_predictions(evaluation), load_run(workdir), best, vectors]
        return found, str(workdir) in said.getvalue()

    return flip_each("bit of a record", workdir, flips, chance, read)


def _run(workdir: Path) -> Path:
    """Return the files that a run of six steps writes; of its checkpoints, only the settings."""
    from training_toy import ToyBatches, quick, toy_train

    from mmvideo.evaluation.results import EvaluationResult, write_result
    from mmvideo.experiment.config import Experiment, to_json
    from mmvideo.input.annotations.teacher_embeddings import write_teacher_embeddings
    from mmvideo.training.checkpoint.retention import Best, write_best

    training = quick(steps=6, save_every=2)
    batches = ToyBatches(skipped=[("clip 7", "no such file"), ("clip 9", "it ends after 0.2 of 2 s")])
    toy_train(workdir, training, batches, config_json=to_json(Experiment("recorded", training=training)))
    rows = [{"id": f"clip {number}", "truth": "a → b", "scores": {"a → b": 0.5}} for number in range(9)]
    result = EvaluationResult({"r@1": 0.25, "chance": 0.125}, rows, {"views": 3}, "shapes", "test", 9)
    write_result(workdir, "retrieval", result, 6)
    write_best(workdir / "checkpoints", Best(6, "retrieval/r@1", "max", 0.25))
    ids, chance = [row["id"] for row in rows], np.random.default_rng(0)
    write_teacher_embeddings(
        workdir / "embeddings.npz", ids, {name: chance.normal(size=(9, 4)) for name in ("video", "audio")}
    )
    # Flips in checkpoints have their own row.
    hidden = workdir.with_name("checkpoints-of-record")
    (workdir / "checkpoints").rename(hidden)
    (workdir / "checkpoints").mkdir()
    for name in ("2", "4", "6"):
        if (hidden / name).is_dir():
            (workdir / "checkpoints" / name).symlink_to(hidden / name)
    (hidden / "best.json").rename(workdir / "checkpoints" / "best.json")
    return workdir


@functools.cache
def _shapes(folder: Path) -> Path:
    """Build a small corpus of sounding shapes with a tokenizer, in two splits."""
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    write_shapes(folder / "clips", ShapesConfig(size=32), splits={"train": 6, "test": 2}, processes=1)
    build(folder / "clips", folder / "corpus", tokenizer_vocabulary=60, shard_clips=3, processes=1, progress=False)
    return folder / "corpus"


def _input(corpus: Path, split: str) -> Any:
    """Return an input config with few tokens of every modality."""
    from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
    from mmvideo.media.config import Spectrogram

    return Input(
        sources=(Source(str(corpus), split),),
        video=Video(fps=2.0, frames=2, size=32, tubelet=(2, 16, 16)),
        audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
        text=Text(length=24),
        packing=Packing(rows=2, tokens=80, clips=2),
        threads=1,
    )


def _equal(left: Any, right: Any) -> bool:
    """Return whether two nests of arrays and plain values are the same, bit for bit."""
    if dataclasses.is_dataclass(left) and not isinstance(left, type):
        left, right = vars(left), vars(right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(_equal(left[name], right[name]) for name in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_equal, left, right))
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    return json.dumps(left, default=repr) == json.dumps(right, default=repr)
