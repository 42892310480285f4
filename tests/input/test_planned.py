"""Everything that changes how many tokens a clip gives: rows hold what the plan says, whoever makes them."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mmvideo.input.config import Audio, DropToken, Input, Masking, Mixing, ModalityDropout, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.input.planning.token_counts import TOKEN_BUDGETS
from mmvideo.stream import MODALITIES, Modality, TokenStream

PLAIN = Input(
    sources=(Source("samples:film"), Source("samples:sounds")),
    video=Video(fps=4.0, frames=4, size=64, tubelet=(2, 16, 16), crop_scale=0.6),
    audio=Audio(seconds=1.0),
    text=Text(length=12),
    masking=Masking(video=0.5, audio=0.5, text=0.15),
    packing=Packing(rows=4, tokens=160, clips=5),
    prefetch=4,
)
BARE = Audio(seconds=1.0, waveform=400, sample_rate=16000)
KINDS = {
    "captions": {"text": Text(length=12, captions=2, begin=True)},
    "drop": {"drop_token": DropToken(video=0.3, audio=0.4, text=0.2)},
    "masks": {
        "masking": Masking(
            video=0.6, video_kind="blocks", decode=0.5, audio=0.51, audio_kind="time_frequency", text=0.2
        )
    },
    "waveform": {"audio": BARE},
    "mixing": {"mixing": Mixing(mixup=0.8, cutmix=1.0, share=0.8)},
    "presence": {
        "modality_dropout": ModalityDropout(
            drop={"video": 0.3, "text": 0.3}, groups=("text-video", "text-video+audio", "audio")
        )
    },
}
TOGETHER = {key: value for kind in KINDS.values() for key, value in kind.items()}
# Bare sound has no bands to hide.
TOGETHER["masking"] = dataclasses.replace(TOGETHER["masking"], audio_kind="time")
TOGETHER |= {"audio": dataclasses.replace(BARE, misaligned=0.5, shift=0.4)}


def _with(**changes) -> Input:
    return dataclasses.replace(PLAIN, **changes)


def _equal(a: TokenStream, b: TokenStream) -> bool:
    same = jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b)
    return all(jax.tree.leaves(same))


@pytest.fixture(scope="module")
def together() -> Batches:
    return Batches(_with(**TOGETHER))


UNIFORM = {"video": dataclasses.replace(PLAIN.video, sampling="uniform", frames=6)}


@pytest.mark.parametrize("kind", [*KINDS, "together", "uniform"])
@pytest.mark.parametrize("train", [True, False])
def test_rows_hold_what_was_planned(kind: str, train: bool):
    config = _with(**{"together": TOGETHER, "uniform": UNIFORM}.get(kind, KINDS.get(kind)))
    batches = Batches(config, train=train)
    for number in range(3):
        row, sampled = batches._row(number), batches._planner.row(number).sampled
        planned = batches._sizes.table(sampled)
        assert (planned.sum(axis=0) <= batches.shape.budget).all()
        for slot, needs in enumerate(planned):
            counted = dict.fromkeys(TOKEN_BUDGETS, 0) | {"clips": 1}
            for name in MODALITIES:
                here = (row.layout.clip == slot) & (row.layout.modality == Modality[name.upper()])
                counted[name] = here.sum()
                counted[f"{name}_hidden"] = (row.targets[name].clip == slot).sum() if name in row.targets else 0
            counted["tokens"] = sum(counted[name] for name in MODALITIES)
            counted["decode"] = (row.decode.clip == slot).sum()
            assert [counted[name] for name in TOKEN_BUDGETS] == needs.tolist()
            assert np.array_equal(row.clips.present[slot], sampled.present[slot])
        assert row.clips.clip_index[: len(sampled)].tolist() == sampled.clip.tolist()


def test_the_decoder_sees_what_is_encoded_and_what_is_predicted(together: Batches):
    stream = together.batch(0)
    length = stream.layout.modality.shape[1]
    for row in range(4):
        real = np.flatnonzero(stream.decode.is_token[row])
        index = stream.decode.source_index[row, real]
        assert len(set(index.tolist())) == len(index)
        encoded = np.flatnonzero((stream.layout.modality[row] == 0) | (stream.layout.modality[row] == 1))
        assert sorted(index[index < length].tolist()) == encoded.tolist()
        first = length
        for name in ("video", "audio"):
            target = stream.targets[name]
            filled = np.flatnonzero(target.target_index[row] >= 0)
            assert (stream.decode.source_index[row, target.target_index[row, filled]] == first + filled).all()
            assert (stream.decode.modality[row, target.target_index[row, filled]] == Modality[name.upper()]).all()
            first += target.target_index.shape[1]


def test_everything_together_is_the_same_for_any_number_of_processes_and_after_resuming(together: Batches):
    config, whole = _with(**TOGETHER), together.batch(5)
    parts = [Batches(config, process_index=i, process_count=2).batch(5) for i in range(2)]
    assert _equal(jax.tree.map(lambda *x: np.concatenate(x), *parts), whole)
    resumed = Batches(config)
    ((_, stream),) = resumed.iterate(5, 6)
    assert _equal(stream, whole)
    assert not _equal(resumed.batch(6), whole)


def test_masked_evaluation_shows_all_that_a_clip_has_and_drops_nothing():
    plain, changed = (Batches(_with(**changes), train=False) for changes in ({}, TOGETHER))
    everything = changed._planner.row(0).sampled
    assert everything.aligned.all() and (everything.caption.shape[1] == 1)
    film = everything.clip < changed.corpus.first[1]
    assert film.any() and everything.present[film].all()
    text = changed._sizes.table(everything)[:, TOKEN_BUDGETS.index("text")]
    lengths = plain._sizes.table(plain._planner.row(0).sampled)[:, TOKEN_BUDGETS.index("text")]
    # A begin mark more, but for captions that are cut to the same length.
    assert (text[: len(lengths)] >= lengths[: len(text)]).all()
    stream = changed.batch(0)
    assert stream.clips.aligned.all()
    first = stream.layout.clip[0] == 0
    patches = stream.layout.grid[0][first & (stream.layout.modality[0] == Modality.AUDIO)]
    hidden = stream.targets["audio"].clip[0] == 0
    assert len(patches) + hidden.sum() == changed._sizes.audio_steps[everything.clip[0]]


def test_dropped_tokens_are_neither_encoded_nor_predicted():
    config = _with(drop_token=DropToken(video=0.5, audio=0.25), masking=Masking(video=0.5, audio=0.5))
    stream = Batches(config).batch(0)
    video = Modality.VIDEO
    for row, slot in np.argwhere(stream.clips.present[..., video])[:4]:
        decoded = (stream.decode.clip[row] == slot) & (stream.decode.modality[row] == video)
        cells = {tuple(cell) for cell in stream.decode.grid[row][decoded].tolist()}
        # Two steps of 16 cells, half hidden; half of each kind is gone.
        assert len(cells) == decoded.sum() == 16
        assert ((stream.layout.clip[row] == slot) & (stream.layout.modality[row] == video)).sum() == 8


def test_several_captions_stand_one_behind_the_other_each_with_its_marks(together: Batches):
    config = _with(text=Text(length=40, captions=3, begin=True), masking=Masking())
    batches = Batches(config)
    stream, spec = batches.batch(0), batches.spec.text
    assert spec.captions == 3
    base = stream.content["video"].shape[1] + stream.content["audio"].shape[1]
    orders = set()
    for row, slot in np.argwhere(stream.clips.present[..., Modality.TEXT]):
        here = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == Modality.TEXT)
        text_tokens, grid = (
            stream.content["text"][row][stream.layout.source_index[row][here] - base],
            stream.layout.grid[row][here],
        )
        own = batches.corpus.captions(int(stream.clips.clip_index[row, slot]))
        assert len(own) == 2 and set(grid[:, 1].tolist()) == {0, 1}
        assert (np.diff(grid[:, 1]) >= 0).all() and (grid[:, 0] == 0).all()
        found = []
        for caption in range(2):
            these = grid[:, 1] == caption
            assert grid[these, 2].tolist() == list(range(these.sum()))
            assert (text_tokens[these][0], text_tokens[these][-1]) == (spec.begin_id, spec.end_id)
            found.append(text_tokens[these][1:].tolist())
        encoded = [batches.tokenizer.encode(text) for text in own]
        assert sorted(found) == sorted(encoded)
        orders.add(found == encoded)
    assert orders == {True, False}


def test_what_is_shown_of_a_clip_is_the_same_whatever_else_is_shown():
    # Some clips have sound for longer than whole tubelets of pictures.
    film = (Source("samples:film", "test"),)
    config = _with(sources=film, masking=Masking(), audio=dataclasses.replace(BARE, seconds=1.9))
    whole = Batches(config, train=False)
    for name in ("video", "audio"):
        alone = Batches(config, train=False, modalities=(name,))
        ours, theirs = (_content(batches, name) for batches in (whole, alone))
        assert alone.skipped == alone.damaged == []
        assert set(ours) == set(theirs) == set(range(28))
        for number, content in theirs.items():
            if name == "video":
                assert np.array_equal(content, ours[number])
            else:
                # Where decoding begins decides the phase of the resampler, a fraction of a sample.
                assert np.corrcoef(content.ravel(), ours[number].ravel())[0, 1] > 0.99


def _content(batches: Batches, name: str) -> dict[int, np.ndarray]:
    """What the encoder sees of one modality of every clip."""
    found = {}
    for step in range(batches.steps_per_epoch):
        stream = batches.batch(step)
        modality = Modality[name.upper()]
        base = sum(stream.content[before].shape[1] for before in MODALITIES[:modality])
        for row, slot in np.argwhere(stream.clips.present[..., modality]):
            here = (stream.layout.clip[row] == slot) & (stream.layout.modality[row] == modality)
            content = stream.content[name][row][stream.layout.source_index[row][here] - base]
            found[int(stream.clips.clip_index[row, slot])] = content
    return found


def test_evaluation_shows_only_the_modalities_that_are_asked_for():
    batches = Batches(PLAIN, masked=False, train=False, modalities=("video", "text"))
    assert batches.spec.modalities == MODALITIES
    assert {reason for _, reason in batches.skipped} == {"has no video and no text"}
    stream = batches.batch(0)
    real = stream.clips.clip_index >= 0
    assert (stream.clips.present[real] == [True, False, True]).all()
    assert not (stream.layout.modality == Modality.AUDIO).any()
    words = Batches(PLAIN, masked=False, train=False, modalities=("text",))
    assert words.skipped == [] and (words.batch(0).clips.present.sum(axis=(0, 1)) > 0).tolist() == [False, False, True]
    with pytest.raises(ValueError, match=r"evaluation.modalities \('smell',\) must name some of those of the run"):
        Batches(PLAIN, train=False, modalities=("smell",))


def test_bare_sound_is_cut_into_its_samples():
    from mmvideo.media.decode import decode

    batches = Batches(_with(audio=BARE, masking=Masking()), train=False)
    assert (batches.spec.audio.patch, batches.spec.audio.grid) == ((400,), (40, 1, 1))
    assert batches.spec.audio.seconds == 0.025
    assert "spectrogram.json" not in batches.assets()
    stream = batches.batch(0)
    start = (float(batches.corpus.seconds[0]) - 1.0) / 2
    media = batches.corpus.record(0).media
    heard = decode(media, start=start, end=start + 1.0, times=[0.125, 0.875], size=(64, 114)).samples
    here = (stream.layout.clip[0] == 0) & (stream.layout.modality[0] == Modality.AUDIO)
    patches = stream.content["audio"][0][stream.layout.source_index[0][here] - stream.content["video"].shape[1]]
    np.testing.assert_allclose(patches.ravel(), heard[:16000], atol=1e-6)
    np.testing.assert_allclose(stream.layout.time[0][here], (np.arange(40) + 0.5) * 0.025, rtol=1e-6)


def test_sound_without_pictures_is_turned_and_sound_with_them_only_made_louder_or_softer():
    plain, rolled = (Batches(_with(audio=dataclasses.replace(BARE, roll=r), masking=Masking())) for r in (False, True))
    turns, factors = {True: set(), False: set()}, []
    for step in range(4):
        ours, theirs = rolled.batch(step), plain.batch(step)
        base = ours.content["video"].shape[1]
        for row, slot in np.argwhere(ours.clips.present[..., Modality.AUDIO]):
            here = (ours.layout.clip[row] == slot) & (ours.layout.modality[row] == Modality.AUDIO)
            place = ours.layout.source_index[row][here] - base
            if len(place) < 40:
                continue
            a, b = (stream.content["audio"][row][place].ravel() for stream in (ours, theirs))
            match = np.fft.irfft(np.fft.rfft(a) * np.conj(np.fft.rfft(b)))
            turn = int(match.argmax())
            factor = np.linalg.norm(a) / np.linalg.norm(b)
            np.testing.assert_allclose(a, factor * np.roll(b, turn), atol=1e-4)
            turns[bool(ours.clips.present[row, slot, Modality.VIDEO])].add(turn)
            factors.append(factor)
    assert turns[True] == {0} and len(turns[False]) > 3
    assert 0.5 < min(factors) < 0.9 and 1.1 < max(factors) < 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"audio": Audio(noise=-0.1)}, r"input.audio.noise=-0.1 must be 0 or more"),
        ({"audio": Audio(waveform=128, noise=0.1)}, "time_masks, mel_masks and noise are for a spectrogram"),
        ({"text": Text(captions=0)}, r"input.text.captions=0 must be from 1 to 63"),
        ({"drop_token": DropToken(audio=1.0)}, r"input.drop_token.audio=1.0 must be at least 0 and below 1"),
        ({"masking": Masking(video=0.5, decode=0.0)}, r"input.masking.decode=0.0 must be above 0"),
        ({"text": Text(fill=True), "masking": Masking(text=0.1)}, "input.text.fill makes end marks of most pieces"),
        ({"audio": Audio(waveform=0)}, r"input.audio.waveform=0 and sample_rate=48000 must be 1 or more"),
        ({"audio": Audio(waveform=128, mel_masks=1)}, "time_masks, mel_masks and noise are for a spectrogram"),
        (
            {"audio": BARE, "masking": Masking(audio=0.5, audio_kind="time_frequency")},
            "input.masking.audio_kind=time_frequency is for a spectrogram",
        ),
        ({"audio": Audio(misaligned=1.5)}, r"input.audio.misaligned=1.5 must be from 0 to 1"),
        ({"audio": Audio(misaligned=0.5, shift=0.0)}, r"shift=0.0 must be positive"),
        ({"audio": Audio(misaligned=0.5, shift=60.0)}, "lower input.audio.shift"),
        ({"modality_dropout": ModalityDropout(drop={"smell": 0.5})}, "input.modality_dropout.drop names 'smell'"),
        (
            {"modality_dropout": ModalityDropout(drop={"video": 1.5})},
            r"input.modality_dropout.drop\['video'\]=1.5 must be from 0 to 1",
        ),
        ({"modality_dropout": ModalityDropout(groups=("text-smell",))}, "'smell' is none of video, audio, text"),
        (
            {"modality_dropout": ModalityDropout(groups=("text-video",)), "text": None},
            "need text, but input.text is None",
        ),
        (
            {"modality_dropout": ModalityDropout(groups=("text-video",), weights=(1.0, 2.0))},
            "input.modality_dropout.weights",
        ),
        (
            {"modality_dropout": ModalityDropout(groups=("video-audio",)), "sources": (Source("samples:sounds"),)},
            "no clip has all modalities of one of them",
        ),
        ({"embeddings": "nowhere.npz"}, "input.embeddings: no file nowhere.npz"),
    ],
)
def test_a_wrong_setting_stops_at_once_with_a_clear_line(changes: dict, message: str):
    with pytest.raises((ValueError, OSError), match=message) as error:
        Batches(_with(**changes))
    assert "\n" not in str(error.value)
