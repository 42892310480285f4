"""Files that hold less than their table says: as many tokens as planned, filled up, and never in silence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.clip_table import ClipTable
from mmvideo.datasets.corpus import Corpus, Record, open_corpus
from mmvideo.input.annotations.captions import no_captions
from mmvideo.input.clip_loader import ClipLoader, Tokens
from mmvideo.input.config import Audio, DropToken, Input, Masking, Video
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning.sampled_examples import SampledExamples
from mmvideo.input.planning.token_counts import TokenCounts, clip_sizes
from mmvideo.input.transforms.patchify import audio_patches, video_frames
from mmvideo.input.view_reader import UnreadableClip
from mmvideo.media.spectrogram import spectrogram

CONFIG = Input(
    video=Video(fps=4.0, frames=16, size=32, tubelet=(2, 16, 16)), audio=Audio(seconds=4.0, patch=(16, 128)), text=None
)


class InMemory(list):
    """Records and their table as a corpus without a folder."""

    def __init__(self, records: list[Record], table: ClipTable):
        super().__init__(records)
        self.table, self.classes = table, {}


@pytest.fixture(scope="module")
def film() -> Corpus:
    return open_corpus("samples:film", "train")


def _loader(corpus: Corpus, seconds: float, media: bytes, train: bool = False) -> tuple[ClipLoader, TokenCounts]:
    """A loader of one clip that is said to last so long and has these bytes."""
    table = dataclasses.replace(
        corpus.table,
        **{n: getattr(corpus.table, n)[:1] for n in ("id", "has_video", "has_audio", "width", "height", "fps")},
        seconds=np.array([seconds]),
        captions=[[]],
        labels={},
    )
    records = [dataclasses.replace(corpus[0], media=media)]

    mixture = CorpusMixture([InMemory(records, table)])
    nothing = (Masking(), DropToken())
    tracks = mixture.has_video, mixture.has_audio
    sizes = clip_sizes(mixture.seconds, *tracks, no_captions(1), CONFIG, *nothing)
    return ClipLoader(mixture, sizes, no_captions(1), CONFIG, *nothing, train), sizes


def _load(loader: ClipLoader, place: tuple[int, int] = (0, 0)) -> tuple[dict[str, Tokens], bool]:
    """Pictures and sound of the one clip."""
    sampled = SampledExamples(np.array([0]), np.array([[-1]]), np.array([[True, True, False]]), np.array([True]))
    loaded = loader.load(sampled, 0, place)
    return loaded.tokens, loaded.damaged


def test_the_last_frame_and_silence_fill_up_what_a_file_lacks(film: Corpus, tmp_path: Path):
    from mmvideo.media.decode import decode
    from mmvideo.media.encode import encode

    whole = decode(film[0].media, end=1.0, fps=4.0)
    sound = np.random.default_rng(0).normal(0, 0.2, 16000).astype(np.float32)
    encode(tmp_path / "short.mp4", whole.frames, 4, samples=sound)
    loader, sizes = _loader(film, 4.0, (tmp_path / "short.mp4").read_bytes())
    tokens, _ = _load(loader)
    assert len(tokens["video"].content) == sizes.video[0] == 8 * 4
    assert len(tokens["audio"].content) == sizes.audio[0] == 24
    frames = video_frames(tokens["video"].content, (2, 16, 16), 32, 32)
    assert (frames[4:] == frames[-1]).all()
    assert (frames[0] != frames[-1]).any()
    silence = audio_patches(spectrogram(np.zeros(16000, np.float32), CONFIG.audio.spectrogram)[:16], CONFIG.audio)
    np.testing.assert_allclose(tokens["audio"].content[-1], silence[0], atol=1e-5)
    assert np.abs(tokens["audio"].content[0] - silence[0]).max() > 0.5


def test_a_file_cut_short_is_used_as_far_as_it_goes_and_said_to_be_damaged(film: Corpus):
    media = film[0].media
    seconds = float(film.table.seconds[0])
    whole, _ = _loader(film, seconds, media)
    cut, sizes = _loader(film, seconds, media[: len(media) // 2])
    expected, fine = _load(whole)
    tokens, damaged = _load(cut)
    assert (fine, damaged) == (False, True)
    for name in ("video", "audio"):
        assert tokens[name].content.shape == expected[name].content.shape
        assert np.array_equal(tokens[name].content[:1], expected[name].content[:1])
        assert not np.array_equal(tokens[name].content[-1:], expected[name].content[-1:])


@pytest.mark.parametrize("media", [b"", b"rubbish" * 100])
def test_rubbish_is_an_unreadable_clip_with_a_reason_of_one_line(film: Corpus, media: bytes):
    loader, _ = _loader(film, 4.0, media)
    with pytest.raises(UnreadableClip) as error:
        _load(loader)
    assert str(error.value) and "\n" not in str(error.value)


def test_training_draws_by_place_and_by_nothing_else(film: Corpus):
    loader, _ = _loader(film, float(film.table.seconds[0]), film[0].media, train=True)
    first, again, other = (_load(loader, place)[0]["video"].content for place in ((1, 5), (1, 5), (1, 6)))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
