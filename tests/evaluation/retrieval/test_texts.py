"""Which texts stand for clips: first captions, all of them, or paragraphs, through a real learner and one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvideo.datasets.corpus import open_corpus
from mmvideo.evaluation.embeddings import embed_corpus
from mmvideo.evaluation.results import read_result
from mmvideo.evaluation.retrieval.texts import Texts, embed_texts, text_batches, texts_of
from mmvideo.evaluation.runner import EvaluatedModel, SubsetEvaluator, evaluate
from mmvideo.evaluation.tasks.retrieval import RetrievalEvaluator
from mmvideo.input.config import Text
from mmvideo.input.pipeline import Batches


class Retold:
    """The clips of a corpus with other captions."""

    def __init__(self, path: str, split: str, captions: list[list[str]]):
        self.corpus = open_corpus(path, split)
        self.table = dataclasses.replace(self.corpus.table, captions=captions)
        self.classes, self.tokenizer_path = self.corpus.classes, self.corpus.tokenizer_path

    def __len__(self) -> int:
        return len(self.corpus)

    def __getitem__(self, index: int):
        return dataclasses.replace(self.corpus[index], captions=self.table.captions[index])

    def attributes(self, index: int) -> dict:
        return self.corpus.attributes(index)


@pytest.fixture(scope="module")
def captions(batches) -> list[list[str]]:
    """Captions of the clips of the corpus; one clip has a single caption, one has none."""
    told = batches.corpus.all_captions()
    return [told[0], told[1][:1], [], *told[3:]]


@pytest.fixture(scope="module")
def retold(config, corpus, batches, captions) -> Batches:
    return _told(config, corpus, batches, captions)


def _told(config, corpus, batches, captions) -> Batches:
    told = [Retold(corpus, "test", captions)]
    return Batches(config, masked=False, train=False, assets=batches.assets(), corpora=told)


@pytest.fixture(scope="module")
def subject(matcher) -> EvaluatedModel:
    return EvaluatedModel(matcher)


def _unit_rank(similarity: np.ndarray, right: np.ndarray) -> int:
    return 1 + int((similarity[~right] >= similarity[right].max() - 1e-6).sum())


def test_a_text_alone_is_embedded_as_beside_its_clip(subject, batches):
    """Among them the first captions, one by one; whatever rows they stand in."""
    found = subject.embeddings(batches)
    words = [captions[0] for captions in batches.corpus.all_captions()]
    alone = embed_texts(subject, text_batches(batches, [*words, *words[::-1]]))
    np.testing.assert_allclose(alone[:9], found.vectors["text"], atol=2e-5)
    np.testing.assert_allclose(alone[9:], found.vectors["text"][::-1], atol=2e-5)


def test_the_texts_of_clips(retold, captions):
    assert texts_of(retold, "first").words == [told[0] for told in captions if told]
    everything = texts_of(retold, "all")
    assert everything.words == [words for told in captions for words in told]
    assert everything.clip.tolist() == [0, 0, 0, 1, *(clip for clip in range(3, 9) for _ in range(3))]
    paragraphs = texts_of(retold, "paragraph")
    assert paragraphs.clip.tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert paragraphs.words[0] == " ".join(captions[0]) and paragraphs.words[1] == captions[1][0]


def test_texts_that_are_cut_are_counted(config, batches):
    """A text of exactly the available tokens is whole; with a begin mark it is one too long."""
    text_tokens = [len(batches.tokenizer.encode(told[0])) for told in batches.corpus.all_captions()]
    words = Texts([told[0] for told in batches.corpus.all_captions()], np.arange(9))
    for begin in (False, True):
        text = Text(length=sorted(text_tokens)[4], begin=begin)
        other = Batches(dataclasses.replace(config, text=text), masked=False, train=False)
        assert words.cut(other) == sum(count + begin > text.length for count in text_tokens) > 0


@pytest.mark.parametrize("which", ["all", "paragraph"])
def test_ranks_are_those_of_texts_embedded_beside_their_clips(
    which, matcher, subject, config, corpus, batches, captions, retold
):
    """The reference embeds each text in a pass of its own over whole clips, and compares one pair at a time."""
    result = RetrievalEvaluator(retold, "shapes", "test", captions=which, dual_softmax=None).run(subject)
    texts = texts_of(retold, which)
    media = embed_corpus(matcher, retold)
    beside = np.zeros((len(texts.words), 16))
    for turn in range(3 if which == "all" else 1):
        own = [np.flatnonzero(texts.clip == clip)[turn : turn + 1] for clip in range(9)]
        told = [[texts.words[place] for place in places] for places in own]
        found = embed_corpus(matcher, _told(config, corpus, batches, told))
        for row, clip in enumerate(found.clip_index):
            beside[own[clip]] = found.vectors["text"][row]
    clips = np.array([0, 1, 3, 4, 5, 6, 7, 8])
    for group in ("video", "audio", "video+audio"):
        similarity = beside @ media.vectors[group][clips].T.astype(np.float64)
        forward = [_unit_rank(row, clips == clip) for row, clip in zip(similarity, texts.clip, strict=True)]
        backward = [_unit_rank(row, texts.clip == clip) for row, clip in zip(similarity.T, clips, strict=True)]
        assert result.metrics[f"text_to_{group}/mean_rank"] == np.mean(forward)
        assert result.metrics[f"{group}_to_text/mean_rank"] == np.mean(backward)
        assert result.metrics[f"text_to_{group}/r@5"] == np.mean(np.array(forward) <= 5)
        assert result.metrics[f"text_to_{group}/clips"] == len(texts.words)
        assert result.metrics[f"{group}_to_text/clips"] == 8
        assert result.metrics[f"text_to_{group}/left_out"] == result.metrics[f"{group}_to_text/left_out"] == 1
        told = [row["ranks"].get(f"text_to_{group}", []) for row in result.predictions]
        assert [rank for own in told for rank in (own if which == "all" else np.atleast_1d(own))] == forward
    assert result.clips == 9
    assert ("video_to_text/by_clip/r@1" in result.metrics) == (which == "all")
    assert result.protocol["captions"].startswith(f"{which}:")
    cut = texts.cut(retold)
    assert result.protocol["texts"].startswith(f"{len(texts.words)} texts, of which {cut} were cut to 16 tokens")


def test_predictions_name_each_caption(subject, retold):
    result = RetrievalEvaluator(retold, "shapes", "test", captions="all", best=22).run(subject)
    first, bare = result.predictions[0], result.predictions[2]
    assert len(first["ranks"]["text_to_video"]) == len(first["scores"]["text_to_video"]) == 3
    scores = first["scores"]["video_to_text"]
    own = max(score for name, score in scores.items() if name.rsplit(" ", 1)[0] == first["id"])
    before = [name for name, score in scores.items() if name.rsplit(" ", 1)[0] != first["id"] and score > own - 1e-6]
    assert first["ranks"]["video_to_text"] == 1 + len(before)
    assert {f"{first['id']} {number}" for number in (1, 2, 3)} < set(first["scores"]["video_to_text"])
    assert len(first["scores"]["video_to_text"]) == 22
    assert set(bare["ranks"]) == set(bare["scores"]) == {"audio_to_video", "video_to_audio"}


def test_first_captions_need_no_pass_of_their_own(subject, batches):
    once = RetrievalEvaluator(batches, "shapes", "test", oracle={"text_to_video/r@1": 0.5}).run(subject)
    assert "text_to_video/oracle" in once.metrics and once.protocol["captions"].startswith("first:")
    assert all(isinstance(row["ranks"]["text_to_video"], int) for row in once.predictions)
    several = RetrievalEvaluator(batches, "shapes", "test", oracle={"text_to_video/r@1": 0.5}, captions="all").run(
        subject
    )
    assert "text_to_video/oracle" not in several.metrics, "the oracle knows first captions alone"
    assert several.metrics["text_to_video/clips"] == 27


def test_media_that_is_missing_is_left_out_and_counted(matcher, config, batches):
    silent = Batches(config, masked=False, train=False, modalities=("video", "text"), assets=batches.assets())
    for which in ("first", "all"):
        metrics = RetrievalEvaluator(silent, "shapes", "test", captions=which).run(EvaluatedModel(matcher)).metrics
        assert metrics["text_to_audio/clips"] == 0 and metrics["text_to_audio/left_out"] == 9
        assert metrics["text_to_video/left_out"] == 0
    wordless = Batches(config, masked=False, train=False, modalities=("video", "audio"), assets=batches.assets())
    metrics = RetrievalEvaluator(wordless, "shapes", "test", captions="all").run(EvaluatedModel(matcher)).metrics
    assert metrics["text_to_video/left_out"] == 9 and metrics["video_to_audio/clips"] == 9


def test_texts_of_a_clip_that_cannot_be_read_are_left_out(subject, config, corpus, batches):
    """The texts of other clips do not take their place."""
    told = batches.corpus.all_captions()

    class Damaged(Retold):
        def __getitem__(self, index: int):
            record = super().__getitem__(index)
            return dataclasses.replace(record, media=b"no film") if index == 4 else record

    damaged = Batches(
        config, masked=False, train=False, assets=batches.assets(), corpora=[Damaged(corpus, "test", told)]
    )
    result = RetrievalEvaluator(damaged, "shapes", "test", captions="all", rerank=3).run(subject)
    assert result.clips == 8 and [row["id"] for row in result.predictions] == [
        batches.clip_id(number) for number in range(9) if number != 4
    ]
    assert result.metrics["text_to_video/clips"] == 24 and result.metrics["video_to_text/left_out"] == 0
    kept = [Retold(corpus, "test", told)]
    whole = Batches(config, masked=False, train=False, assets=batches.assets(), corpora=kept)
    found = subject.embeddings(whole)
    others = [number for number in range(9) if number != 4]
    words = [text for number in others for text in told[number]]
    similarity = embed_texts(subject, text_batches(whole, words)).astype(float) @ found.vectors["video"][others].T
    for row, clip in enumerate(np.repeat(np.arange(8), 3)):
        rank = _unit_rank(similarity[row], np.arange(8) == clip)
        assert result.predictions[clip]["ranks"]["text_to_video"][row % 3] == rank


def test_clips_that_give_nothing_are_named_in_the_file_of_an_evaluation(
    subject, config, corpus, batches, tmp_path, capsys
):
    told = batches.corpus.all_captions()

    class Damaged(Retold):
        def __getitem__(self, index: int):
            record = super().__getitem__(index)
            return dataclasses.replace(record, media=b"") if index in (2, 4) else record

    damaged = Batches(
        config, masked=False, train=False, assets=batches.assets(), corpora=[Damaged(corpus, "test", told)]
    )
    evaluator = RetrievalEvaluator(damaged, "shapes", "test")
    for one in (evaluator, SubsetEvaluator(evaluator, dataset="other")):
        evaluate([one], subject.learner, None, tmp_path, 3)
        details = read_result(tmp_path / "evals" / f"{one.name}.json")["details"]
        assert details["skipped"] == 2
        assert {clip["id"] for clip in details["skipped_clips"]} == {batches.clip_id(2), batches.clip_id(4)}
        assert all("it is empty (0 bytes)" in clip["reason"] for clip in details["skipped_clips"])
        assert f"{one.name}: 2 clips give nothing, such as " in capsys.readouterr().err
