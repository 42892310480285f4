"""Names of what is compared: groups of modalities, pairs of groups, and embeddings.

Each contrastive objective embeds into a space of its own, and only what lies in one space can be compared. The names of
embeddings say where they lie: those of a run's main space are plain groups such as `video`; behind those of others
stands their objective, as in `audio@video_audio`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def embedding_name(group: str, space: str = "") -> str:
    """The name of a group's embedding in the space of an objective; none is the main one."""
    return f"{group}@{space}" if space else group


def group_and_space(name: str) -> tuple[str, str]:
    """`audio@video_audio` as `audio` and `video_audio`; of the main space that is empty."""
    group, _, space = name.partition("@")
    return group, space


def shared_embedding_space(names: Iterable[str], groups: Sequence[str]) -> list[str] | None:
    """The names of groups in the first space that has all of them, the main one before others; None if none has."""
    known = list(names)
    spaces = dict.fromkeys(group_and_space(name)[1] for name in known)
    for space in sorted(spaces, key=bool):
        wanted = [embedding_name(group, space) for group in groups]
        if set(wanted) <= set(known):
            return wanted
    return None
