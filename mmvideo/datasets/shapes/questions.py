"""Questions about a clip that its attributes answer, in the words of its captions.

A row of the manifest holds one question with its answer: `question`, `answer`, and as its caption both with the mark
`<answer>` between them, which is a single token for tokenizers trained on such captions. A question concerns the video
(colour, shape, motion, number of bounces) or the audio (instrument, melody).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmvideo.datasets.shapes.attributes import Attributes, split_key, uniforms
from mmvideo.datasets.shapes.config import ShapesConfig
from mmvideo.datasets.shapes.grammar import WORDINGS

MARK = "<answer>"
"""Separator of a question and its answer in a caption."""

ASKED = {
    "colour": ("what colour is it?", "which colour does the shape have?"),
    "shape": ("what shape is it?", "which shape moves?"),
    "motion": ("what does the shape do?", "how does it move?"),
    "timbre": ("which instrument plays?", "which instrument is heard?"),
    "melody": ("what does the instrument play?", "what is the music like?"),
    "bounces": ("how many times does it bounce?",),
}
"""Wordings of the question for each attribute."""

_COUNTS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def answer(clip: Attributes, asked: str) -> str:
    """Return the answer for a clip, in a few words; a large number of bounces in digits."""
    if asked == "bounces":
        count = len(clip.bounces)
        return _COUNTS[count] if count < len(_COUNTS) else str(count)
    return WORDINGS[asked][getattr(clip, asked)][0]


def question_rows(config: ShapesConfig, clips: Sequence[Attributes], count: int) -> list[dict[str, Any]]:
    """Return manifest rows with `count` different questions about each clip.

    Raises:
        ValueError: there are fewer questions than requested.
    """
    if not 0 <= count <= len(ASKED):
        raise ValueError(f"shapes: {count} questions a clip; there are {len(ASKED)}")
    return [row for clip in clips for row in _rows(config, clip, count)]


def _rows(config: ShapesConfig, clip: Attributes, count: int) -> list[dict[str, Any]]:
    numbers = uniforms((config.seed, split_key(clip.split), clip.index, 4), 2 * len(ASKED))
    # Sorting random values gives a random order; the first `count` questions are asked.
    order = numbers[: len(ASKED)].argsort(kind="stable")[:count]
    rows = []
    for place, which in enumerate(order):
        asked = list(ASKED)[which]
        wordings = ASKED[asked]
        question = wordings[int(numbers[len(ASKED) + place] * len(wordings))]
        said = answer(clip, asked)
        rows.append(
            {
                "id": f"{clip.id}-{asked}",
                "media": f"clips/{clip.id}.mp4",
                "captions": [f"{question} {MARK} {said}"],
                "question": question,
                "answer": said,
                "split": clip.split,
            }
        )
    return rows
