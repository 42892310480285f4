"""Batches of real clips: the same whoever asks and when, whole, and robust."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.input.planning.token_counts import TOKEN_BUDGETS
from mmvideo.input.transforms import patchify
from mmvideo.stream import MODALITIES, Modality, TokenStream

SMALL = Input(
    sources=(Source("samples:film"), Source("samples:sounds")),
    video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16), crop_scale=0.6, colour=0.2),
    audio=Audio(seconds=1.0, time_masks=1, time_mask=20, mel_masks=1, mel_mask=16),
    masking=Masking(video=0.5, audio=0.5, audio_kind="time", text=0.15),
    packing=Packing(rows=4, tokens=96, clips=4),
    threads=2,
    prefetch=4,
)


def _equal(a: TokenStream, b: TokenStream) -> bool:
    same = jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    return all(jax.tree.leaves(same))


def _with(**changes) -> Input:
    return dataclasses.replace(SMALL, **changes)


@pytest.fixture(scope="module")
def batches() -> Batches:
    return Batches(SMALL)


@pytest.fixture(scope="module")
def stream(batches: Batches) -> TokenStream:
    return batches.batch(3)


def test_iterating_and_resuming_give_what_looking_up_gives(batches: Batches, stream: TokenStream):
    resumed = Batches(SMALL)
    steps = list(resumed.iterate(2, 4))
    assert [step for step, _ in steps] == [2, 3]
    assert _equal(steps[1][1], stream)
    assert not _equal(steps[0][1], stream)


def test_leaving_an_iteration_early_leaves_nothing_broken(batches: Batches, stream: TokenStream):
    for _ in batches.iterate(0, 1000):
        break
    assert _equal(batches.batch(3), stream)


@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_processes_make_the_same_batch(stream: TokenStream, count: int):
    parts = [Batches(SMALL, process_index=i, process_count=count).batch(3) for i in range(count)]
    assert all(part.layout.modality.shape[0] == 4 // count for part in parts)
    assert _equal(jax.tree.map(lambda *x: np.concatenate(x), *parts), stream)


def test_another_seed_sees_other_clips(stream: TokenStream):
    assert not np.array_equal(Batches(_with(seed=1)).batch(3).clips.clip_index, stream.clips.clip_index)


def test_shapes_and_types(batches: Batches, stream: TokenStream):
    slots = dict(zip(TOKEN_BUDGETS, batches.shape.budget.tolist(), strict=True))
    assert {k: (v.shape, str(v.dtype)) for k, v in stream.content.items()} == {
        "video": ((4, slots["video"], 2 * 16 * 16 * 3), "uint8"),
        "audio": ((4, slots["audio"], 256), "float32"),
        "text": ((4, slots["text"]), "int32"),
    }
    assert stream.layout.modality.shape == (4, 96)
    assert stream.decode.modality.shape == (4, slots["decode"])
    assert stream.targets["video"].content.shape == (4, slots["video_hidden"], 1536)
    assert stream.targets["text"].content.shape == (4, slots["text_hidden"])
    assert stream.clips.clip_index.shape == (4, 4)


def test_clips_stand_together_modality_by_modality(stream: TokenStream):
    for row in range(4):
        real = stream.layout.modality[row] >= 0
        order = stream.layout.clip[row][real] * len(MODALITIES) + stream.layout.modality[row][real]
        assert (np.diff(order) >= 0).all()
        present = {(int(o) // 3, int(o) % 3) for o in order}
        assert present == {(int(e), int(m)) for e, m in np.argwhere(stream.clips.present[row])}


def test_the_index_names_every_content_once_and_in_its_modality(batches: Batches, stream: TokenStream):
    starts = np.cumsum([0] + [stream.content[name].shape[1] for name in batches.spec.modalities])
    for row in range(4):
        real = stream.layout.modality[row] >= 0
        index, modality = stream.layout.source_index[row][real], stream.layout.modality[row][real]
        assert len(set(index.tolist())) == len(index)
        assert (np.searchsorted(starts, index, side="right") - 1 == modality).all()


def test_the_decoder_row_weaves_encoded_tokens_and_targets(stream: TokenStream):
    length, hidden_v = stream.layout.modality.shape[1], stream.targets["video"].target_index.shape[1]
    for row in range(4):
        real = np.flatnonzero(stream.decode.modality[row] >= 0)
        assert (real == np.arange(len(real))).all()
        for place in real:
            index = int(stream.decode.source_index[row, place])
            if index < length:
                for name in ("modality", "clip", "time", "grid"):
                    assert np.array_equal(
                        getattr(stream.decode, name)[row, place], getattr(stream.layout, name)[row, index]
                    )
                continue
            index -= length
            name = "video" if index < hidden_v else "audio"
            target = stream.targets[name]
            index -= 0 if name == "video" else hidden_v
            assert target.target_index[row, index] == place
            assert target.clip[row, index] == stream.decode.clip[row, place]
            assert stream.decode.modality[row, place] == Modality[name.upper()]
        encoded = (stream.layout.modality[row] == 0) | (stream.layout.modality[row] == 1)
        shown = stream.decode.source_index[row][real]
        assert set(shown[shown < length].tolist()) == set(np.flatnonzero(encoded).tolist())


def test_hidden_text_is_replaced_where_its_target_says(batches: Batches, stream: TokenStream):
    base = stream.content["video"].shape[1] + stream.content["audio"].shape[1]
    mask_id, target = batches.tokenizer.mask_id, stream.targets["text"]
    for row in range(4):
        filled = target.target_index[row] >= 0
        text_tokens = stream.layout.source_index[row][target.target_index[row][filled]] - base
        assert (stream.content["text"][row][text_tokens] == mask_id).all()
        assert (target.content[row][filled] != mask_id).all()
        assert (stream.content["text"][row] == mask_id).sum() == filled.sum() > 0


@pytest.mark.parametrize("begin", [False, True])
def test_marks_stand_around_a_caption_and_are_never_hidden(begin: bool):
    text = Text(length=6, begin=begin)
    batches = Batches(_with(sources=(Source("samples:sounds"),), text=text, masking=Masking(text=0.9)))
    spec, stream = batches.spec.text, batches.batch(0)
    assert (spec.begin_id, spec.end_id) == (batches.tokenizer.bos_id if begin else -1, batches.tokenizer.eos_id)
    base = stream.content["audio"].shape[1]
    for row, slot in np.argwhere(stream.clips.present[..., Modality.TEXT]):
        here = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == Modality.TEXT)
        text_tokens = stream.content["text"][row][stream.layout.source_index[row][here] - base]
        number = int(stream.clips.clip_index[row, slot])
        words = batches.tokenizer.encode(batches.corpus.captions(number)[0])[:-1][: 5 - begin]
        assert len(text_tokens) == len(words) + 1 + begin
        assert text_tokens[-1] == spec.end_id and (not begin or text_tokens[0] == spec.begin_id)
        assert (text_tokens[begin:-1] == spec.mask_id).sum() == int(0.9 * len(words) + 0.5)


def test_clips_say_that_nothing_is_shifted_and_that_nothing_more_is_known(stream: TokenStream):
    assert stream.clips.aligned.shape == (4, 4) and stream.clips.aligned.all()
    assert stream.clips.teacher_embeddings == {}


def _patches(stream: TokenStream, number: int) -> dict[str, dict[tuple, np.ndarray]]:
    """Every patch of a clip, encoded or hidden, by modality and grid cell."""
    row, slot = np.argwhere(stream.clips.clip_index == number)[0]
    starts = {"video": 0, "audio": stream.content["video"].shape[1]}
    found: dict[str, dict[tuple, np.ndarray]] = {"video": {}, "audio": {}}
    for place in np.flatnonzero((stream.layout.clip[row] == slot) & (stream.layout.modality[row] < 2)):
        name = MODALITIES[stream.layout.modality[row, place]]
        content = stream.content[name][row, stream.layout.source_index[row, place] - starts[name]]
        found[name][tuple(stream.layout.grid[row, place].tolist())] = content
    for name in ("video", "audio"):
        if name in stream.targets:
            target = stream.targets[name]
            for i in np.flatnonzero(target.clip[row] == slot):
                cell = tuple(stream.decode.grid[row, target.target_index[row, i]].tolist())
                assert cell not in found[name]
                found[name][cell] = target.content[row, i]
    return found


def test_shown_and_hidden_patches_make_up_the_whole_clip():
    config = _with(sources=(Source("samples:film"),), packing=Packing(rows=2, tokens=160, clips=3))
    masked = Batches(config, train=False)
    whole = Batches(config, train=False, masked=False)
    assert whole.batch(0).targets == {} and whole.batch(0).decode is None
    common = set(masked.batch(0).clips.clip_index[0].tolist()) & set(
        whole.batch(0).clips.clip_index.ravel().tolist()
    ) - {-1}
    assert common
    for number in common:
        a, b = _patches(masked.batch(0), number), _patches(whole.batch(0), number)
        for name, cells in (("video", 2 * 2 * 2), ("audio", 6 * 8)):
            assert len(a[name]) == cells
            assert a[name].keys() == b[name].keys()
            assert all(np.array_equal(a[name][cell], b[name][cell]) for cell in a[name])


def test_patches_are_the_middle_of_the_decoded_clip():
    from mmvideo.media.decode import decode
    from mmvideo.media.spectrogram import spectrogram

    plain = Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16))
    config = _with(sources=(Source("samples:film"),), video=plain, packing=Packing(rows=1, tokens=96, clips=1))
    batches = Batches(config, train=False, masked=False)
    stream = batches.batch(0)
    start = (float(batches.corpus.seconds[0]) - 1.0) / 2
    media = batches.corpus.record(0).media
    clip = decode(media, start=start, end=start + 1.0, times=[0.125, 0.375, 0.625, 0.875], size=(32, 57))
    found = _patches(stream, 0)
    patches = np.stack([found["video"][t, y, x] for t in range(2) for y in range(2) for x in range(2)])
    assert np.array_equal(patchify.video_frames(patches, (2, 16, 16), 32, 32), clip.frames[:, :, 12:44])
    rows = spectrogram(clip.samples[:16000], config.audio.spectrogram)
    for (t, m, _), patch in found["audio"].items():
        expected = rows[16 * t : 16 * t + 16, 16 * m : 16 * m + 16]
        np.testing.assert_allclose(patch.reshape(16, 16), expected, atol=1e-5)
    video = stream.layout.modality[0] == Modality.VIDEO
    assert sorted(set(stream.layout.time[0][video].tolist())) == [0.25, 0.75]


@pytest.mark.parametrize("masked", [False, True])
def test_evaluation_gives_every_clip_once_and_ends_with_empty_rows(masked: bool):
    config = _with(sources=(Source("samples:sounds", "test"), Source("samples:sounds", "train")))
    batches = Batches(config, masked=masked, train=False)
    numbers = [batches.batch(step).clips.clip_index for step in range(batches.steps_per_epoch)]
    flat = np.concatenate(numbers).ravel()
    assert sorted(flat[flat >= 0].tolist()) == list(range(131))
    assert batches.skipped == []
    after = batches.batch(batches.steps_per_epoch)
    assert (after.clips.clip_index == -1).all() and (after.layout.modality == -1).all()
    assert numbers[0].shape == numbers[-1].shape
    firsts = [n for batch in numbers for n in batch[:, 0].tolist() if n >= 0]
    assert firsts == sorted(firsts)


def test_evaluation_is_the_same_whatever_the_seed():
    config = _with(sources=(Source("samples:sounds", "test"),))
    one, two = (Batches(dataclasses.replace(config, seed=s), masked=False, train=False) for s in (0, 1))
    assert _equal(one.batch(0), two.batch(0))


def test_a_missing_modality_has_no_tokens(stream: TokenStream, batches: Batches):
    sounds = stream.clips.clip_index >= batches.corpus.first[1]
    assert sounds.any()
    assert not stream.clips.present[sounds][:, Modality.VIDEO].any()
    assert stream.clips.present[sounds][:, Modality.AUDIO].all()
    for row, slot in np.argwhere(sounds):
        here = stream.layout.clip[row] == slot
        assert (stream.layout.modality[row][here] != Modality.VIDEO).all()


def test_labels_are_merged_over_the_sources(stream: TokenStream, batches: Batches):
    for row, slot in np.argwhere(stream.clips.clip_index >= 0):
        number = int(stream.clips.clip_index[row, slot])
        source, _ = batches.corpus.locate(number)
        record = batches.corpus.record(number)
        for kind, names in batches.classes.items():
            own = batches.corpus.corpora[source].classes.get(kind, [])
            known = record.labels.get(kind, -1)
            label = int(stream.clips.labels[kind][row, slot])
            assert (names[label] if label >= 0 else None) == (own[known] if known >= 0 else None)


def test_default_settings_fill_the_rows_of_the_samples():
    config = Input(sources=(Source("samples:all"),))
    batches = Batches(config)
    assert len(batches.corpus) == 359
    tokens = [batches._planner.needs(epoch)[1][:, 0].sum() for epoch in range(3)]
    rows = [len(batches._planner.epoch(epoch)) for epoch in range(3)]
    assert all(t / (r * config.packing.tokens) >= 0.95 for t, r in zip(tokens, rows, strict=True))
    # The rows hold what the plan says.
    row = batches._row(0)
    needs = batches._sizes.table(batches._planner.row(0).sampled)
    assert (row.layout.modality >= 0).sum() == needs[:, 0].sum()


def test_weights_are_honoured():
    sources = (Source("samples:sounds", weight=3.0), Source("samples:film", weight=1.0))
    batches = Batches(_with(sources=sources))
    clips = batches._planner.epoch(0).sampled.clip
    assert (len(clips), (clips < 98).sum()) == (180, 135)


def test_assets_keep_tokenizer_classes_and_modalities_of_the_training_run(batches: Batches):
    assets = batches.assets()
    assert set(assets) == {"tokenizer.model", "spectrogram.json", "classes.json", "annotations.json", "spec.json"}
    config = _with(sources=(Source("samples:animations", "test"),))
    held_out = Batches(config, train=False, masked=False, assets=assets)
    assert held_out.spec == batches.spec
    assert held_out.classes == batches.classes
    assert held_out.assets() == assets
    stream = held_out.batch(0)
    assert stream.content["audio"].shape[1] > 0
    assert not stream.clips.present[..., Modality.AUDIO].any()
    assert (stream.layout.modality != Modality.AUDIO).all()


def test_a_run_without_text_or_sound_has_none():
    batches = Batches(_with(text=None, audio=None, sources=(Source("samples:film"),)))
    assert batches.spec.modalities == ("video",)
    assert set(batches.batch(0).content) == {"video"}
    sounds_only = Batches(_with(sources=(Source("samples:sounds"),)))
    assert sounds_only.spec.modalities == ("audio", "text")
    assert set(sounds_only.batch(0).targets) == {"audio", "text"}


def test_clips_that_a_run_cannot_use_are_listed():
    batches = Batches(_with(audio=None, masking=Masking()), train=False)
    assert len(batches.skipped) == 98
    assert {reason for _, reason in batches.skipped} == {"has neither pictures nor sound that this config uses"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ()}, "input.sources is empty"),
        ({"video": Video(frames=6, tubelet=(4, 16, 16))}, "frames=6 must be a multiple of the tubelet's 4"),
        ({"video": Video(size=40)}, "size=40 must be a multiple"),
        ({"audio": Audio(patch=(16, 200))}, "higher than the 128 mel bins"),
        ({"masking": Masking(video=1.0)}, "input.masking.video=1.0"),
        ({"masking": Masking(audio=0.001)}, "hides not one token"),
        ({"packing": Packing(rows=4, tokens=40)}, "raise input.packing.tokens"),
        ({"video": None, "audio": None}, "pictures or sound"),
        ({"text": Text(tokenizer="nowhere.model")}, "no file nowhere.model"),
        ({"text": Text(length=2, begin=True)}, "input.text.length=2 must be 3 or more"),
        ({"seed": -1}, "input.seed=-1"),
        ({"sources": (Source("samples:animations"),), "video": None}, "no clip of samples:animations"),
    ],
)
def test_a_wrong_setting_stops_at_once_with_a_clear_line(changes: dict, message: str):
    with pytest.raises((ValueError, OSError), match=message) as error:
        Batches(_with(**changes))
    assert "\n" not in str(error.value)


def test_rows_must_divide_among_processes():
    with pytest.raises(ValueError, match="rows=4 must be a multiple of the 3 processes"):
        Batches(SMALL, process_count=3)


def test_an_unreadable_clip_leaves_a_hole_and_moves_nothing(tmp_path: Path):
    from mmvideo.datasets import samples
    from mmvideo.datasets.build import build

    build(Path(samples.__file__).parent / "sounds", tmp_path / "corpus", processes=1, progress=False)
    config = _with(sources=(Source(str(tmp_path / "corpus")),))
    sound = Batches(config)
    whole = sound.batch(0)
    row, slot = np.argwhere(whole.clips.clip_index >= 0)[1]
    number = int(whole.clips.clip_index[row, slot])
    media = sound.corpus.record(number).media
    middle = media[len(media) // 2 : len(media) // 2 + 64]
    (shard,) = [p for p in (tmp_path / "corpus").glob("*train*array_record*") if middle in p.read_bytes()]
    content = shard.read_bytes()
    shard.write_bytes(content.replace(middle, bytes(64)))
    broken = Batches(config)
    holed = broken.batch(0)
    assert [clip for clip, _ in broken.skipped] == [sound.clip_id(number)]
    assert "cannot be read" in broken.skipped[0][1]
    assert holed.clips.clip_index[row, slot] == -1
    assert not holed.clips.present[row, slot].any()
    assert all((labels[row, slot] == -1) for labels in holed.clips.labels.values())
    lost = whole.layout.clip == slot
    lost[np.arange(len(lost)) != row] = False
    assert lost.sum() > 0
    assert (holed.layout.modality[lost] == -1).all() and (holed.layout.clip[lost] == -1).all()
    for name in ("source_index", "modality", "clip", "time", "grid"):
        assert np.array_equal(getattr(holed.layout, name)[~lost], getattr(whole.layout, name)[~lost])
    for name, target in holed.targets.items():
        gone = whole.targets[name].clip == slot
        gone[np.arange(len(gone)) != row] = False
        assert (target.target_index[gone] == -1).all()
        assert np.array_equal(target.content[~gone], whole.targets[name].content[~gone])
    broken.batch(0)
    assert len(broken.skipped) == 1


def test_only_clips_whose_words_tell_no_sides_are_flipped():
    video = dataclasses.replace(SMALL.video, flip=True, colour=0.0)
    batches = Batches(_with(sources=(Source("samples:film"),), video=video))
    flips = ~batches._loader._reader._sided
    assert 0 < flips.sum() < len(flips)
    assert all(" right" not in text for n in np.flatnonzero(flips) for text in batches.corpus.captions(int(n)))
    straight = Batches(_with(sources=(Source("samples:film"),), video=dataclasses.replace(video, flip=False)))
    flipped = {True: set(), False: set()}
    for step in range(4):
        ours, theirs = batches.batch(step), straight.batch(step)
        for number in set(ours.clips.clip_index.ravel().tolist()) - {-1}:
            a, b = _patches(ours, number)["video"], _patches(theirs, number)["video"]
            flipped[bool(flips[number])].add(all(np.array_equal(a[cell], b[cell]) for cell in a))
    # Nothing else is drawn otherwise: a clip is the same, or its other side.
    assert flipped == {True: {True, False}, False: {True}}
    held_out = _with(sources=(Source("samples:film", "test"),), video=video)
    still = dataclasses.replace(held_out, video=dataclasses.replace(video, flip=False))
    assert _equal(Batches(held_out, train=False).batch(0), Batches(still, train=False).batch(0))
