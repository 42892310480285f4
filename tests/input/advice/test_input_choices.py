"""Corpora of every shape get settings that the input takes, and that say why."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvideo.datasets.clip_table import ClipTable, table_of
from mmvideo.datasets.manifests.annotations import Annotations
from mmvideo.input.advice.choice import Situation
from mmvideo.input.advice.input_choices import INPUT
from mmvideo.input.checks import check_config
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.input.mixture import CorpusMixture
from mmvideo.media.config import Spectrogram
from mmvideo.stream import MODALITIES

LISTENS = ("input.audio.spectrogram.mean", "input.audio.spectrogram.deviation")


@dataclasses.dataclass(frozen=True)
class Table:
    """A corpus of which nothing but the clip table is looked at."""

    table: ClipTable
    classes: dict = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)


def corpus(seconds, sides=(64, 64), fps=25.0, video=True, audio=True, captions=()) -> CorpusMixture:
    """Clips of these lengths as a clip table tells of them, without media."""
    count = len(seconds)
    columns = [np.broadcast_to(value, count).tolist() for value in (video, audio, fps)]
    sides = np.broadcast_to(sides, (count, 2)).tolist()
    facts = [
        {
            "id": str(number), "seconds": length, "has_video": pictures, "has_audio": sound,
            "width": side[0] * pictures, "height": side[1] * pictures, "fps": rate * pictures,
            "captions": list(captions), "labels": {}, "tags": [], "attributes": {},
        }
        for number, (length, pictures, sound, rate, side) in enumerate(zip(seconds, *columns, sides, strict=True))
    ]  # fmt: skip
    return CorpusMixture([Table(table_of(facts, Annotations()))])


def chosen(clips: CorpusMixture, given: dict | None = None, **config) -> tuple[Input, dict[str, str]]:
    """The input with every choice made but those that listen, and the reasons."""
    plain = {"video": Video(), "audio": Audio(spectrogram=Spectrogram(kind="log_mel", bins=64)), "text": None} | config
    config, why = Input((Source("clips"),), **plain), {}
    for field, choose in INPUT.items():
        if field in LISTENS or field in (given or ()):
            continue
        choice = choose(Situation(config, clips, frozenset(given or ())))
        if choice is None:
            continue
        why[field], path = choice.why, field.split(".")[1:]
        config = replaced(config, path, choice.value)
    return config, why


def replaced(node, path, value):
    first, *rest = path
    return dataclasses.replace(node, **{first: replaced(getattr(node, first), rest, value) if rest else value})


def tokens(config: Input, clips: CorpusMixture) -> np.ndarray:
    """Tokens of every clip under the settings."""
    from mmvideo.input.annotations.captions import no_captions
    from mmvideo.input.planning.token_counts import clip_sizes

    tracks = clips.has_video, clips.has_audio
    captions = no_captions(len(clips))
    found = clip_sizes(clips.seconds, *tracks, captions, config, config.masking, config.drop_token)
    return found.video + found.audio


def test_short_small_clips_have_short_rows():
    """Of 1.5 s and 64 px: 4 x 4 patches, 6 steps and some patches of sound, three clips a row."""
    clips = corpus([1.5] * 40)
    config, why = chosen(clips)
    assert config.video.size == 64 and config.video.tubelet == (2, 16, 16) and config.video.frames == 12
    assert config.video.fps == 8.0 and config.audio.seconds == 1.5
    assert (tokens(config, clips) == 6 * 16 + 9 * 4).all()
    assert config.packing.tokens <= 4 * 132 + 8 and 3 <= config.packing.clips <= 4
    assert all(why.values())


@pytest.mark.parametrize(
    ("clips", "video", "audio"),
    [
        (corpus([3.0, 0.4, 2.0], audio=False), True, False),
        (corpus([0.25, 2.8, 0.7, 0.3], video=False), False, True),
        (corpus([2.0, 5.0, 3.0, 1.0], audio=[True, False, False, True]), True, True),
        (corpus([600.0, 30.0, 1200.0], sides=(1920, 1080), fps=59.94), True, True),
        (corpus([0.04] * 5, sides=(640, 480), fps=0.0, audio=False), True, False),
        (corpus([4.0] * 3, sides=(20, 12), fps=5.0), True, True),
        (corpus([9.0, 2.0, 4.5, 3.3] * 5, sides=(1080, 1920), fps=29.97), True, True),
        (corpus([2.0], sides=(9, 7), fps=1.0), True, True),
    ],
    ids=["silent", "sounds", "some_sound", "films", "stills", "tiny", "upright", "one"],
)
def test_every_corpus_has_settings_that_work(clips, video, audio):
    config, why = chosen(clips)
    check_config(config, 1)
    assert (config.video is not None, config.audio is not None) == (video, audio)
    if video:
        assert 16 <= config.video.size <= 64 and config.video.fps <= 8
        assert config.video.frames / config.video.fps <= 8 + 1e-6
    needs = tokens(config, clips)
    assert needs.max() <= config.packing.tokens, "the largest clip fits"
    assert needs.max() <= 400, "two cores train on it"
    assert config.packing.clips >= 1 and all(why.values())


def test_long_clips_are_seen_in_part():
    config, why = chosen(corpus([300.0] * 6, sides=(1280, 720), fps=30.0))
    assert config.audio.seconds == 8.0 and config.video.frames == 32 and config.video.fps == 4.0
    assert config.audio.spectrogram.hop_seconds == 0.02 and config.audio.spectrogram.window_seconds == 0.04
    assert "at most 8 s" in why["input.video.frames"]


def test_short_sounds_have_short_patches():
    brief, _ = chosen(corpus([0.25, 0.3, 0.7, 2.8], video=False))
    long, _ = chosen(corpus([2.5, 3.0, 2.8], video=False))
    assert brief.audio.patch == (8, 16) and long.audio.patch == (16, 16)


def test_what_is_given_stays_and_the_rest_follows():
    clips = corpus([3.0] * 12, sides=(320, 240))
    own = Video(size=112, frames=10, fps=5.0)
    given = {"input.video.size": 0, "input.video.frames": 0, "input.video.fps": 0}
    config, _ = chosen(clips, given, video=own)
    check_config(config, 1)
    assert (config.video.size, config.video.frames, config.video.fps) == (112, 10, 5.0)
    assert config.video.tubelet == (2, 16, 16), "divides what was given"
    assert config.audio.seconds == 2.0, "as long as the pictures"
    assert config.packing.tokens >= tokens(config, clips).max()
    small, _ = chosen(clips)
    assert config.packing.tokens > small.packing.tokens

    config, _ = chosen(clips, {"input.video.tubelet": 0}, video=Video(tubelet=(3, 24, 24)))
    check_config(config, 1)
    assert config.video.tubelet == (3, 24, 24) and config.video.size == 48 and config.video.frames % 3 == 0
    config, _ = chosen(clips, {"input.packing.clips": 0}, packing=Packing(clips=1))
    assert config.packing.tokens < 2 * tokens(config, clips).max()


def test_rows_are_nearly_full_whatever_the_lengths():
    draw = np.random.default_rng(0)
    clips = corpus(draw.gamma(2.0, 2.0, 500).clip(0.3, 60.0), audio=draw.random(500) < 0.5)
    config, why = chosen(clips)
    assert int(why["input.packing.tokens"].split("rows are ")[1].split("%")[0]) >= 95


def test_captions_have_room():
    clips = corpus([2.0] * 8, captions=("a red circle climbs while a bell plays a rising tune", "a circle"))
    config, why = chosen(clips, text=Text())
    assert 16 <= config.text.length <= 24 and "captions" in why["input.text.length"]
    assert config.packing.tokens >= tokens(config, clips).max() + config.text.length
    config, why = chosen(corpus([2.0]), text=Text())
    assert config.text is None and why["input.text"] == "no clip has a caption"


def test_every_choice_is_a_field():
    config = Input(text=Text())
    for field in INPUT:
        node = config
        for part in field.split(".")[1:]:
            node = getattr(node, part)
    assert {field.split(".")[1] for field in INPUT} == {*MODALITIES, "packing"}
