"""Views of an evaluation: each exactly once, where its number says."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Video, Views
from mmvideo.input.pipeline import Batches
from mmvideo.input.transforms.crops import sample_crop
from mmvideo.input.transforms.eval_views import begin, view_counts
from mmvideo.input.transforms.patchify import video_frames
from mmvideo.stream import Modality, TokenStream

CONFIG = Input(
    sources=(Source("samples:film", "test"), Source("samples:sounds", "test")),
    video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
    audio=Audio(seconds=1.0),
    masking=Masking(),
    packing=Packing(rows=4, tokens=160, clips=5),
)


def _batches(views: Views, config: Input = CONFIG, **options) -> Batches:
    return Batches(config, masked=False, train=False, views=views, **options)


def _pass(batches: Batches) -> dict[tuple[int, int], tuple[TokenStream, int, int]]:
    """Every view of one pass, by clip and view: its batch, row and slot. None comes twice."""
    found = {}
    for step in range(batches.steps_per_epoch):
        stream = batches.batch(step)
        for row, slot in np.argwhere(stream.clips.clip_index >= 0).tolist():
            key = int(stream.clips.clip_index[row, slot]), int(stream.clips.view[row, slot])
            assert key not in found
            found[key] = stream, row, slot
    return found


def _video(place: tuple[TokenStream, int, int]) -> np.ndarray:
    """The patches of one view in order."""
    stream, row, slot = place
    here = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == Modality.VIDEO)
    return stream.content["video"][row][stream.layout.source_index[row][here]]


def test_stretches_are_spread_from_the_start_to_the_end():
    views = Views(clips=5, crops=3)
    starts = [begin(8.0, view, views) for view in range(15)]
    assert starts == [0.0] * 3 + [2.0] * 3 + [4.0] * 3 + [6.0] * 3 + [8.0] * 3
    assert begin(8.0, 2, Views(crops=3)) == 4.0
    assert view_counts(np.array([1.0, 10.0]), np.array([2.0, 2.0]), views).tolist() == [15, 15]


def test_strides_cover_a_clip_of_any_length():
    views = Views(stride=3.0, crops=2)
    seconds = np.array([1.0, 4.0, 4.1, 7.0, 10.0, 10.5, 60.0])
    counts = view_counts(seconds, np.full(7, 4.0), views)
    assert (counts // 2).tolist() == [1, 1, 2, 2, 3, 4, 20]
    for length, count in zip(seconds, counts // 2, strict=True):
        room = max(length - 4.0, 0.0)
        starts = [begin(room, 2 * number, views) for number in range(count)]
        assert starts[0] == 0 and starts[-1] == pytest.approx(room)
        assert (np.diff(starts) > 0).all() and (np.diff(starts) <= 3.0 + 1e-9).all()


@pytest.mark.parametrize(
    ("views", "rows", "tokens", "processes"),
    [(Views(clips=2, crops=3), 4, 160, 1), (Views(stride=0.7), 6, 97, 2), (Views(clips=2), 6, 97, 1)],
)
def test_every_view_comes_exactly_once_however_it_is_packed(views: Views, rows: int, tokens: int, processes: int):
    config = dataclasses.replace(CONFIG, packing=Packing(rows=rows, tokens=tokens, clips=5))
    found = {}
    for index in range(processes):
        batches = _batches(views, config, process_index=index, process_count=processes)
        part = _pass(batches)
        assert not set(part) & set(found)
        found |= part
    expected = {(n, v) for n in range(len(batches.corpus)) for v in range(batches.views_of(n))}
    assert set(found) == expected and len(expected) > len(batches.corpus)
    if views.stride is None:
        assert {batches.views_of(n) for n in range(len(batches.corpus))} == {views.clips * views.crops}
    pictures = _batches(views, dataclasses.replace(config, audio=None))
    used = np.array([pictures.views_of(n) > 0 for n in range(len(pictures.corpus))])
    assert used.tolist() == pictures.corpus.has_video.tolist() and not used.all()
    after = batches.batch(batches.steps_per_epoch)
    assert (after.clips.clip_index == -1).all() and (after.clips.view == 0).all()


@pytest.mark.slow(reason="decodes every clip of the samples")
def test_views_begin_where_they_say_and_show_what_is_there():
    from mmvideo.media.decode import decode

    views = Views(clips=3, crops=3)
    batches = _batches(views)
    found = _pass(batches)
    corpus, video = batches.corpus, CONFIG.video
    for number in (0, 5):
        seconds = float(corpus.seconds[number])
        for view in range(9):
            stream, row, slot = found[number, view]
            start = (seconds - 1.0) * (view // 3) / 2
            assert stream.clips.start[row, slot] == np.float32(start)
            width, height = int(corpus.width[number]), int(corpus.height[number])
            square = sample_crop(width, height, video, None, views, view)
            times = [0.125, 0.375, 0.625, 0.875]
            media = corpus.record(number).media
            clip = decode(media, start=start, end=start + 1.0, times=times, size=square.size)
            assert square.size[0] == 32
            left = (0, (square.size[1] - 32) // 2, square.size[1] - 32)[view % 3]
            expected = clip.frames[:, :, left : left + 32]
            assert np.array_equal(video_frames(_video(found[number, view]), (2, 16, 16), 32, 32), expected)
    text = {found[0, view][0].clips.present[found[0, view][1:]].tolist()[Modality.TEXT] for view in range(9)}
    assert text == {True}


def test_one_view_is_the_middle_and_a_short_clip_gives_views_that_are_alike():
    one, single = _batches(Views()), Batches(CONFIG, masked=False, train=False)
    same = jax.tree.map(np.array_equal, one.batch(0), single.batch(0))
    assert all(jax.tree.leaves(same))
    config = dataclasses.replace(CONFIG, video=dataclasses.replace(CONFIG.video, frames=64))
    batches = _batches(Views(clips=3), dataclasses.replace(config, packing=Packing(rows=2, tokens=400, clips=5)))
    found = _pass(batches)
    first = [_video(found[0, view]) for view in range(3)]
    room = [float(found[0, view][0].clips.start[found[0, view][1:]]) for view in range(3)]
    assert max(room) < 0.5
    assert first[0].shape == first[1].shape == first[2].shape
    sounds = int(batches.corpus.first[1])
    short = sounds + int(np.argmin(batches.corpus.seconds[sounds:]))
    contents = []
    for view in range(3):
        stream, row, slot = found[short, view]
        assert stream.clips.start[row, slot] == 0
        here = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == Modality.AUDIO)
        contents.append(
            stream.content["audio"][row][stream.layout.source_index[row][here] - stream.content["video"].shape[1]]
        )
    assert np.array_equal(contents[0], contents[1]) and np.array_equal(contents[0], contents[2])


def test_squares_of_a_larger_picture_and_of_a_tall_one():
    video = Video(size=32)
    views = Views(crops=3, resize_shorter=48)
    squares = [sample_crop(200, 100, video, None, views, view) for view in range(3)]
    assert {square.size for square in squares} == {(48, 96)}
    assert [square.corner for square in squares] == [(8, 0), (8, 32), (8, 64)]
    tall = [sample_crop(100, 200, video, None, Views(crops=3), view) for view in range(3)]
    assert [square.corner for square in tall] == [(0, 0), (16, 0), (32, 0)]
    assert [sample_crop(80, 80, video, None, Views(crops=3), view).corner for view in range(3)] == [(0, 0)] * 3


def test_uniform_views_are_read_from_the_whole_clip_in_real_seconds():
    from mmvideo.media.decode import decode
    from mmvideo.media.spectrogram import spectrogram

    video = dataclasses.replace(CONFIG.video, sampling="uniform")
    config = dataclasses.replace(CONFIG, video=video, sources=CONFIG.sources[:1])
    batches = _batches(Views(clips=2), config)
    found, seconds = _pass(batches), float(batches.corpus.seconds[0])
    media = batches.corpus.record(0).media
    for view, phase in ((0, 0.0), (1, 0.5)):
        stream, row, slot = found[0, view]
        times = (np.arange(4) + phase) * seconds / 4
        clip = decode(media, end=seconds, times=times, size=(32, 57))
        expected = clip.frames[:, :, 12:44]
        assert np.array_equal(video_frames(_video(found[0, view]), (2, 16, 16), 32, 32), expected)
        assert stream.clips.start[row, slot] == 0
        here = stream.layout.clip[row] == slot
        layout = stream.layout
        shown = sorted(set(layout.time[row][here & (layout.modality[row] == Modality.VIDEO)].tolist()))
        np.testing.assert_allclose(shown, [times[:2].mean(), times[2:].mean()], rtol=1e-6)
        sound = here & (layout.modality[row] == Modality.AUDIO)
        middle = (seconds - 1.0) / 2
        np.testing.assert_allclose(layout.time[row][sound].min(), middle + 0.08, atol=1e-3)
        content = stream.content["audio"][row][layout.source_index[row][sound] - stream.content["video"].shape[1]]
        start = int((seconds - 1.0) * 16000 / 2)
        heard = decode(media, video=False).samples[start : start + 16000]
        rows = spectrogram(heard, config.audio.spectrogram)[:16, :16]
        assert np.corrcoef(content[0], rows.ravel())[0, 1] > 0.99


def test_training_says_where_its_views_start():
    batches = Batches(CONFIG)
    starts = {}
    for step in range(2 * batches.steps_per_epoch):
        clips = batches.batch(step).clips
        assert (clips.view == 0).all() and clips.mixed is None
        for row, slot in np.argwhere(clips.clip_index >= 0):
            starts.setdefault(int(clips.clip_index[row, slot]), set()).add(float(clips.start[row, slot]))
    films = [starts[n] for n in range(int(batches.corpus.first[1])) if n in starts]
    room = batches.corpus.seconds - 1.0
    assert all(max(s) <= room[n] + 1e-6 for n, s in starts.items() if room[n] > 0)
    assert sum(len(s) > 1 for s in films) > len(films) / 2


@pytest.mark.parametrize(
    ("views", "changes", "message"),
    [
        (Views(clips=0), {}, r"views.clips=0 and crops=1 must be 1 or more"),
        (Views(stride=0.0), {}, r"views.stride=0.0 must be above 0"),
        (Views(stride=1.0, clips=2), {}, r"views.clips=2 then be 1"),
        (Views(resize_shorter=16), {}, r"resize_shorter=16 must be at least input.video.size=32"),
        (Views(stride=1.0), {"video": Video(sampling="uniform")}, "a uniform view is the whole clip"),
    ],
)
def test_views_that_cannot_be_taken_stop_at_once(views: Views, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        _batches(views, dataclasses.replace(CONFIG, **changes))


def test_training_takes_no_views():
    with pytest.raises(ValueError, match="are for evaluation"):
        Batches(CONFIG, views=Views(crops=3))
