"""Names of groups of modalities, of pairs of groups, and of embeddings.

Each contrastive objective embeds into its own space, and only embeddings of one space can be compared. The name of an
embedding says which space it belongs to: a plain group such as `video` is in the main space of the run, and
`audio@video_audio` is in the space of the objective `video_audio`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmvideo.stream import MODALITIES

Group = tuple[str, ...]


def parse_pair(pair: str) -> tuple[Group, Group]:
    """Return the two sides of a pair such as `video+audio-text`, each in the order of `MODALITIES`.

    Raises:
      ValueError: There are not two sides, a modality is unknown, or a modality is on both sides.
    """
    sides = [side.split("+") for side in pair.split("-")]
    names = [name for side in sides for name in side]
    if len(sides) != 2 or not set(names) <= set(MODALITIES) or len(set(names)) < len(names):
        raise ValueError(
            f"contrastive.pairs: {pair!r} is not a pair such as 'video-text' or 'video+audio-text': two sides of "
            f"{', '.join(MODALITIES)}, each modality at most once"
        )
    # `audio+video-text` and `video+audio-text` are the same pair: the order of MODALITIES makes them equal.
    left, right = (tuple(name for name in MODALITIES if name in side) for side in sides)
    return left, right


def group_name(group: Group) -> str:
    """Return the name of a group: `video+audio` for `("video", "audio")`."""
    return "+".join(group)


def pair_name(left: Group, right: Group) -> str:
    """Return the name of a pair of groups, such as `video+audio-text`."""
    return f"{group_name(left)}-{group_name(right)}"


def embedding_name(group: str, space: str = "") -> str:
    """Return the name of a group's embedding in the space of an objective; an empty name is the main space."""
    return f"{group}@{space}" if space else group


def group_and_space(name: str) -> tuple[str, str]:
    """Return group and space of an embedding: `audio` and `video_audio` for `audio@video_audio`; "" is the main one."""
    group, _, space = name.partition("@")
    return group, space


def shared_embedding_space(names: Iterable[str], groups: Sequence[str]) -> list[str] | None:
    """Return the names of the groups in the first space that has all of them, or None; the main space comes first."""
    known = list(names)
    spaces = dict.fromkeys(group_and_space(name)[1] for name in known)
    # The main space is "", and False sorts first; the sort is stable, so the others keep their order.
    for space in sorted(spaces, key=bool):
        wanted = [embedding_name(group, space) for group in groups]
        if set(wanted) <= set(known):
            return wanted
    return None
