"""The generated clips of a tier: made once, for all suites that ask for the same."""

from __future__ import annotations

import fcntl
from collections.abc import Iterable
from pathlib import Path

from mmvideo.ablation.cells import Cell
from mmvideo.ablation.suite import Corpus, Tier
from mmvideo.experiment.config import ConfigError

CORPORA = "corpora/ablations"
"""Folder of generated corpora, relative to the working directory."""


def make_corpora(corpora: Iterable[Corpus], below: str | Path = CORPORA, progress: bool = True) -> None:
    """Generate and build each corpus that does not exist; an interrupted call is resumed.

    Raises:
      ValueError: a folder that holds clips of other settings.
    """
    from mmvideo.datasets.build import build
    from mmvideo.datasets.shapes import ShapesConfig, write_shapes

    for corpus in corpora:
        out = Path(below) / corpus.name
        clips = out.with_name(f"{corpus.name}-clips")
        out.parent.mkdir(parents=True, exist_ok=True)
        # Two suites may ask for the same corpus at the same time: the second waits, and then finds it complete.
        with out.with_name(f".{corpus.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            shapes = ShapesConfig(size=corpus.size, difficulty=corpus.difficulty, longest=corpus.longest)
            splits = {"train": corpus.train, "test": corpus.test}
            write_shapes(clips, shapes, splits=splits, progress=progress)
            build(clips, out, tokenizer_vocabulary=corpus.vocabulary, progress=progress)


def check_data(tier: Tier, cells: Iterable[Cell], below: str | Path = CORPORA) -> None:
    """Check that every corpus of the cells exists, before any cell is started.

    Raises:
      ConfigError: a corpus is missing; the message says what the tier needs.
    """
    generated = {str(Path(below) / corpus.name) for corpus in tier.corpora}
    asked = {
        source.path
        for cell in cells
        for source in (*cell.experiment.input.sources, *cell.experiment.evaluation.sources)
    }
    # A path with a colon is a URL or a named dataset, not a local folder: its reader checks it.
    missing = [path for path in sorted(asked - generated) if ":" not in path and not Path(path).is_dir()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        needs = f"; the tier needs {tier.needs}" if tier.needs else ""
        raise ConfigError(f"there is no corpus {missing[0]}{more}: build it with mmvideo data build{needs}")
