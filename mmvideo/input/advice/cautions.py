"""Warnings about a corpus that may mislead a classifier or make its metrics doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mmvideo.input.advice.view_length import LONGEST
from mmvideo.input.mixture import CorpusMixture

FEW = 5
"""Number of clips of a class below which it is hard to learn."""

SHOWN = 6
"""Largest number of names in a list."""

SMALL = 50
"""Number of held-out clips below which a single clip is more than two points of accuracy."""


def media_cautions(corpus: CorpusMixture) -> Iterator[str]:
    """Yield warnings about clips without a modality that others have, and about clips much longer than a view."""
    count, has = len(corpus), {"video": corpus.has_video, "audio": corpus.has_audio}
    for name, there in has.items():
        if there.any() and not there.all():
            yield f"{count - int(there.sum()):,} of {count:,} clips have no {name}; a head reads what they have"
    longer = corpus.seconds > 2 * LONGEST
    if longer.mean() > 0.1:
        yield (
            f"{int(longer.sum()):,} of {count:,} clips last longer than {2 * LONGEST:g} s, a view shows {LONGEST:g} s: "
            "where a class is seen for a moment alone, cut it out (start and end in manifest.jsonl)"
        )


def label_cautions(corpus: CorpusMixture, label: str, held_out: CorpusMixture | None) -> Iterator[str]:
    """Yield warnings about classes with few clips, unknown classes, and the limits of the held-out clips.

    Args:
      corpus: the training clips.
      label: label type that is learned.
      held_out: the clips of the evaluation; None if there are none.
    """
    counts, unknown = class_counts(corpus, label)
    names = corpus.classes[label]
    if unknown:
        yield f"{unknown:,} of {len(corpus):,} training clips have no {label}; nothing is learned from them"
    few = [f"{name} ({count})" for name, count in zip(names, counts, strict=True) if count < FEW]
    if few:
        yield f"fewer than {FEW} training clips: {_listed(few)}"
    if counts.max() > 0.8 * counts.sum():
        yield f"{counts.max() / counts.sum():.0%} of the clips are '{names[int(counts.argmax())]}': look at recall too"
    if held_out is None:
        yield (
            "there is no test split, so that nothing is measured: put some clips of each class into FOLDER/test/CLASS, "
            'or give them "split": "test", and build the corpus again'
        )
        return
    theirs, _ = class_counts(held_out, label)
    tested = dict(zip(held_out.classes.get(label, []), theirs, strict=True))
    trained = dict(zip(names, counts, strict=True))
    never = [name for name, count in tested.items() if count and not trained.get(name)]
    if never:
        yield f"tested, but never in training: {_listed(never)}"
    if sum(tested.values()) < SMALL:
        total = int(sum(tested.values()))
        yield f"{total} clips measure it: one of them is {1 / max(total, 1):.1%} of accuracy"


def class_counts(corpus: CorpusMixture, label: str) -> tuple[np.ndarray, int]:
    """Return the number of clips in each class of a label type, and the number of clips without a known class."""
    size = len(corpus.classes.get(label, []))
    if label in corpus.labels:
        known = corpus.labels[label][corpus.labels[label] >= 0]
        return np.bincount(known, minlength=size), len(corpus) - len(known)
    lists = [own for one in corpus.corpora for own in one.table.several.get(label, [None] * len(one))]
    numbers = [number for own in lists if own is not None for number in own]
    return np.bincount(np.array(numbers, np.int64), minlength=size), sum(own is None for own in lists)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
