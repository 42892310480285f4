"""Settings of the generated sounding shapes."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class ShapesConfig:
    """Settings of the look and sound of the shapes.

    The number of clips is no setting: clip `i` of a split is the same for any number of clips.

    Raises:
        ValueError: a value is outside its range; the message has the range.
    """

    seed: int = 0
    """seed; every clip is a pure function of it, the split's name and the clip's index"""

    difficulty: float = 0.2
    """difficulty from 0 (easy) to 1 (hard): distractors, clutter, noise in video and audio, variation of size and
    pitch"""

    size: int = 64
    """height and width of the frames in pixels, even, at least 32"""

    fps: int = 12
    """frames per second, from 8 to 60"""

    shortest: float = 1.6
    """shortest clip in seconds, at least 1.6, so that every clip holds two bounces"""

    longest: float = 2.4
    """longest clip in seconds; lengths are drawn uniformly from the frame counts between the two"""

    tie: float = 0.8
    """dependence of the instrument on the shape: with this probability it is the shape's own, else any of the four"""

    captions: int = 3
    """captions for each clip, in different words"""

    short: int = 0
    """number of them, the last ones, that name only some of the attributes; the first always names all"""

    sample_rate: int = 16000
    """audio samples per second, at least 16000 (the beep sounds at 5.5 kHz)"""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**63 - 1),
            ("difficulty", 0, 1),
            ("size", 32, 1024),
            ("fps", 8, 60),
            ("shortest", 1.6, 60),
            ("longest", self.shortest, 60),
            ("tie", 0, 1),
            ("captions", 1, 20),
            ("short", 0, self.captions - 1),
            ("sample_rate", 16000, 48000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"shapes: {name}={value} must lie from {low} to {high}")
        if self.size % 2:
            raise ValueError(f"shapes: size={self.size} must be even (H.264 stores colour at half the size)")

    @property
    def frame_counts(self) -> range:
        """Possible numbers of frames in a clip, all equally likely."""
        first = -int(-self.shortest * self.fps // 1)
        last = max(first, int(self.longest * self.fps + 1e-9))
        return range(first, last + 1)
