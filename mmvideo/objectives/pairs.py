"""Names of what is compared: groups of modalities, and pairs of groups."""

from __future__ import annotations

from mmvideo.stream import MODALITIES

Group = tuple[str, ...]


def parse_pair(pair: str) -> tuple[Group, Group]:
    """The two sides of a pair such as `video+audio-text`, each in the order of `MODALITIES`.

    Raises:
      ValueError: not two sides, an unknown modality, or one that is on both sides.
    """
    sides = [side.split("+") for side in pair.split("-")]
    names = [name for side in sides for name in side]
    if len(sides) != 2 or not set(names) <= set(MODALITIES) or len(set(names)) < len(names):
        raise ValueError(
            f"contrastive.pairs: {pair!r} is not a pair such as 'video-text' or 'video+audio-text': two sides of "
            f"{', '.join(MODALITIES)}, each modality at most once"
        )
    left, right = (tuple(name for name in MODALITIES if name in side) for side in sides)
    return left, right


def group_name(group: Group) -> str:
    """`("video", "audio")` as `video+audio`."""
    return "+".join(group)


def pair_name(left: Group, right: Group) -> str:
    """Two groups as `video+audio-text`."""
    return f"{group_name(left)}-{group_name(right)}"
