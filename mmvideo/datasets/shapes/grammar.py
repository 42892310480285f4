"""Captions from a small grammar, with several wordings of every attribute and several sentence orders.

No wording of one value occurs within a wording of another value of the same attribute, so a full caption determines all
values (`read` recovers them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mmvideo.datasets.shapes.attributes import Attributes, split_key, uniforms
from mmvideo.datasets.shapes.config import ShapesConfig

WORDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {
        "circle": ("circle", "disc"),
        "square": ("square", "box"),
        "triangle": ("triangle",),
        "star": ("star",),
        "cross": ("cross", "plus sign"),
        "ring": ("ring", "hoop"),
    },
    "colour": {
        "red": ("red", "scarlet"),
        "green": ("green",),
        "blue": ("blue",),
        "yellow": ("yellow", "golden"),
        "purple": ("purple", "violet"),
        "white": ("white",),
    },
    "motion": {
        "climbs": ("climbs", "hops upwards"),
        "descends": ("descends", "hops downwards"),
        "zigzags": ("zigzags across", "crosses in a zigzag"),
        "bounces": ("bounces on the spot", "jumps up and down"),
        "slides": ("slides from side to side", "shuttles left and right"),
        "swells": ("swells and shrinks", "grows and shrinks"),
    },
    "timbre": {
        "flute": ("flute",),
        "clarinet": ("clarinet",),
        "violin": ("violin", "fiddle"),
        "bell": ("bell", "chime"),
    },
    "melody": {
        "rising": ("rising tune", "melody that goes up"),
        "falling": ("falling tune", "melody that goes down"),
        "steady": ("steady note", "long held note"),
        "pulsing": ("pulsing note", "note again and again"),
    },
}

FULL = (
    "a {colour} {shape} {motion} while a {timbre} plays a {melody}",
    "a {timbre} plays a {melody} as a {colour} {shape} {motion}",
    "the {colour} {shape} {motion} to a {melody} on the {timbre}",
    "to the {melody} of a {timbre} the {colour} {shape} {motion}",
    "{colour} {shape} that {motion}, {timbre} with a {melody}",
)
SHORT = (
    "a {colour} {shape} {motion}",
    "a {shape} {motion}",
    "a {timbre} plays a {melody}",
    "a {colour} {shape} and a {timbre}",
    "something {motion} while a {melody} sounds",
)


def captions(config: ShapesConfig, attributes: Attributes) -> list[str]:
    """Return `config.captions` captions, the last `config.short` of them short."""
    numbers = iter(uniforms((config.seed, split_key(attributes.split), attributes.index, 1), 6 * config.captions))

    def pick(choices):
        return choices[int(next(numbers) * len(choices))]

    def say(templates) -> str:
        template = pick(templates)
        words = {name: pick(values[getattr(attributes, name)]) for name, values in WORDINGS.items()}
        return template.format(**words)

    # captions 3 and short 1: two full captions, then a short one.
    kinds = [FULL] * (config.captions - config.short) + [SHORT] * config.short
    return [say(templates) for templates in kinds]


def known_facts(captions: Sequence[str]) -> Callable[[str], dict[str, str]] | None:
    """Return `read`, if all these captions name every attribute of a shape; None for other captions."""
    return read if captions and all(len(read(caption)) == len(WORDINGS) for caption in captions) else None


def read(caption: str) -> dict[str, str]:
    """Return the attributes that a caption of this grammar names; the others are absent."""
    found = {}
    for name, values in WORDINGS.items():
        for value, wordings in values.items():
            if any(re.search(rf"\b{re.escape(wording)}\b", caption) for wording in wordings):
                found[name] = value
    return found
