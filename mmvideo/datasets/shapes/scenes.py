"""Long videos of sounding shapes, scene after scene, with queries that match some of the scenes.

Every scene is a clip of the shapes with its own attributes and background. A query is the caption of one scene. Its
moments are all scenes of the video that it describes, found by reading it with the grammar. Some scenes repeat the
attributes of an earlier one, and some captions name only part of them, so a query may have several moments. Its
saliency is the share of the named attributes that are true at a time: 1 within its moments, less elsewhere.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mmvideo.datasets.shapes.attributes import Attributes, draw, split_key, uniforms
from mmvideo.datasets.shapes.clips import Shapes
from mmvideo.datasets.shapes.config import ShapesConfig
from mmvideo.datasets.shapes.grammar import WORDINGS, captions, read


@dataclasses.dataclass(frozen=True)
class ScenesConfig:
    """Settings of the long videos.

    Raises:
        ValueError: a value is outside its range; the message has the range.
    """

    scene: ShapesConfig = ShapesConfig(longest=4.0)
    """settings of the scenes: seed, look, sound and length; its `captions` and `short` are ignored here"""

    shortest: float = 12.0
    """shortest video in seconds"""

    longest: float = 24.0
    """longest video in seconds, at least the shortest one plus one longest scene"""

    again: float = 0.25
    """probability that a scene repeats the attributes of an earlier one, other than the one just before it"""

    queries: int = 3
    """largest number of queries for each video, all about different attributes"""

    brief: float = 0.5
    """probability that a query names only some of the attributes"""

    step: float = 0.5
    """seconds of a window of saliency"""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("shortest", self.scene.longest, 600),
            ("longest", self.shortest + self.scene.longest, 600),
            ("again", 0, 1),
            ("queries", 1, 20),
            ("brief", 0, 1),
            ("step", 0.1, 10),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"shapes: {name}={value} of long videos must lie from {low} to {high}")


@dataclasses.dataclass(frozen=True)
class LongVideo:
    """One long video: its scenes in order of time."""

    split: str
    index: int
    scenes: tuple[Attributes, ...]

    @property
    def id(self) -> str:
        return f"{self.split}-{self.index:05d}"

    @property
    def media(self) -> str:
        return f"videos/{self.id}.mp4"

    @property
    def spans(self) -> list[tuple[float, float]]:
        """Start and end of every scene in seconds."""
        edges = np.cumsum([0, *(scene.frames for scene in self.scenes)]) / self.scenes[0].fps
        return [
            (round(float(start), 6), round(float(end), 6)) for start, end in zip(edges[:-1], edges[1:], strict=True)
        ]


class Scenes:
    """Endless set of long videos of one `ScenesConfig`; every method is a pure function of it and its arguments."""

    def __init__(self, config: ScenesConfig):
        self.config = config
        self._shapes = Shapes(dataclasses.replace(config.scene, captions=2, short=1))

    def draw(self, split: str, videos: int) -> list[LongVideo]:
        """Return the first `videos` videos of a split."""
        return [self._video(split, index) for index in range(videos)]

    def frames(self, video: LongVideo) -> UInt8[np.ndarray, "T Y X 3"]:
        """Return the frames of a video, `config.scene.fps` a second."""
        return np.concatenate([self._shapes.frames(scene) for scene in video.scenes])

    def samples(self, video: LongVideo) -> Float[np.ndarray, "S"]:
        """Return the audio of a video, mono in [-1, 1] at `config.scene.sample_rate`, aligned with the frames."""
        rate = self.config.scene.sample_rate
        sound = np.zeros(round(video.spans[-1][1] * rate), np.float32)
        for scene, (start, _) in zip(video.scenes, video.spans, strict=True):
            # Scenes are placed by time, so rounding of their sample counts does not add up.
            here = sound[round(start * rate) :]
            own = self._shapes.samples(scene)[: len(here)]
            here[: len(own)] = own
        return sound

    def rows(self, video: LongVideo) -> list[dict[str, Any]]:
        """Return the manifest's rows of a video: one for each query, with the same file and events."""
        chance, order = self._uniforms(video, 1, len(video.scenes)), self._uniforms(video, 2, len(video.scenes))
        asked, rows = [], []
        for place in np.argsort(order, kind="stable"):
            query = self._captions(video.scenes[place])[int(chance[place] < self.config.brief)]
            # Two wordings of the same attributes would be one query with different words.
            if read(query) not in asked and len(asked) < self.config.queries:
                asked.append(read(query))
                rows.append(self.event_row(video) | self._answer(video, query) | {"id": f"{video.id}-{len(rows)}"})
        return rows

    def event_row(self, video: LongVideo) -> dict[str, Any]:
        """Return the manifest's row of a whole video: its events with their times, and all of them as a paragraph."""
        events = [
            {"start": start, "end": end, "caption": self._captions(scene)[0]}
            for scene, (start, end) in zip(video.scenes, video.spans, strict=True)
        ]
        return {
            "id": video.id,
            "media": video.media,
            "captions": [". ".join(event["caption"] for event in events)],
            "events": events,
            "attributes": {"scenes": [_named(scene) for scene in video.scenes]},
            "split": video.split,
        }

    def dense_row(self, video: LongVideo) -> dict[str, Any]:
        """Return the same row with its events as one text with time tokens (`media.time_tokens`)."""
        from mmvideo.media.time_tokens import write_events

        row = self.event_row(video)
        events = [(event["start"], event["end"], event["caption"]) for event in row["events"]]
        return row | {"captions": [write_events(events, video.spans[-1][1])]}

    def _answer(self, video: LongVideo, query: str) -> dict[str, Any]:
        """Return the columns of a query."""
        named = read(query)
        shares = [np.mean([getattr(scene, name) == value for name, value in named.items()]) for scene in video.scenes]
        scores = _windows(shares, video.spans, self.config.step)
        return {
            "captions": [query],
            "moments": [list(span) for span, share in zip(video.spans, shares, strict=True) if share == 1],
            "saliency": {"step": self.config.step, "scores": scores},
        }

    def _video(self, split: str, index: int) -> LongVideo:
        config, scene = self.config, self.config.scene
        most = int(np.ceil(config.longest / scene.shortest)) + 1
        # A split of its own for every video keeps its scenes apart from those of others and from the clips of `Shapes`.
        drawn = draw(scene, f"scenes {split} {index}", most)
        video = LongVideo(split, index, tuple(drawn))
        length, again = self._uniforms(video, 0, 1)[0], self._uniforms(video, 3, 2 * most).reshape(most, 2)
        wanted = config.shortest + length * (config.longest - scene.longest - config.shortest)
        scenes: list[Attributes] = []
        for own, (whether, which) in zip(drawn, again, strict=True):
            if sum(one.seconds for one in scenes) >= wanted - 1e-9:
                break
            # The choice excludes the last scene: a repetition in direct succession would be one longer scene.
            if len(scenes) > 1 and whether < config.again:
                own = dataclasses.replace(own, **_named(scenes[int(which * (len(scenes) - 1))]))
            scenes.append(own)
        return dataclasses.replace(video, scenes=tuple(scenes))

    def _captions(self, scene: Attributes) -> list[str]:
        """Return a caption that names all attributes of a scene, and one that names some."""
        return captions(self._shapes.config, scene)

    def _uniforms(self, video: LongVideo, purpose: int, count: int) -> np.ndarray:
        return uniforms((self.config.scene.seed, split_key(f"videos {video.split}"), video.index, purpose), count)


def _named(scene: Attributes) -> dict[str, str]:
    """Return the attributes of a scene that captions can name."""
    return {name: getattr(scene, name) for name in WORDINGS}


def _windows(values: list[float], spans: list[tuple[float, float]], step: float) -> list[float]:
    """Return the mean, over each window of `step` seconds, of a value that is constant over spans.

    The last window may be cut short by the end of the last span.
    """
    starts, ends = np.array(spans).T
    edges = step * np.arange(int(np.ceil(ends[-1] / step - 1e-9)))[:, None]
    # Seconds that each window shares with each span. Spans (0, 0.7) and (0.7, 2) with values 1 and 0, windows of 0.5 s:
    # the window from 0.5 to 1 s shares 0.2 and 0.3 s, so its mean is 0.4.
    shared = np.maximum(np.minimum(edges + step, ends) - np.maximum(edges, starts), 0)
    return np.round(shared @ np.array(values) / shared.sum(1), 4).tolist()
