"""Re-ranking: pairs judged as the loss judges them, and ranks against slow loops."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.evaluation.retrieval.recall_at_k import Side, directions_of
from mmvideo.evaluation.retrieval.reranking import TIE, match_logits, pair_logits, reranked, shortlist
from mmvideo.evaluation.retrieval.texts import texts_of
from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.retrieval import RetrievalEvaluator
from mmvideo.input.pipeline import Batches


@pytest.fixture(scope="module")
def subject(matcher) -> EvaluatedModel:
    return EvaluatedModel(matcher)


@pytest.fixture(scope="module")
def words(batches) -> list[str]:
    return texts_of(batches, "first").words


def test_odds_are_those_of_the_loss(matcher, subject, config, batches, words):
    """True pairs and mismatches, for each clip with the text of each, as the loss puts them together on the device."""
    media, text = np.divmod(np.arange(81), 9)
    found = pair_logits(subject, batches, media, [words[clip] for clip in text]).reshape(9, 9)
    wide = dataclasses.replace(config, packing=dataclasses.replace(config.packing, rows=16))
    stream = Batches(wide, masked=False, train=False).batch(0)
    number = np.asarray(stream.clips.clip_index)
    assert sorted(number[number >= 0]) == list(range(9))
    place = np.argsort(np.where(number.ravel() >= 0, number.ravel(), 99))[:9]
    objective, heads = matcher.objectives["matching"], matcher.heads["matching"]
    matcher.eval()

    @jax.jit
    def score_pairs(owners):
        features = matcher.trunk(jax.tree.map(jnp.asarray, stream))
        wanted = jnp.asarray(number >= 0)
        own = jnp.arange(number.size).reshape(number.shape)
        mismatched, fits = objective.score_pairs(heads, features, matcher.trunk, own, owners, wanted)
        return heads(features, number.shape[1]), mismatched, fits

    expected = np.zeros((9, 9))
    for turn in range(9):
        # Clip n gets the text of clip n + turn.
        owners = np.zeros(number.size, np.int64)
        owners[place] = place[(np.arange(9) + turn) % 9]
        matched, mismatched, fits = map(np.asarray, score_pairs(owners.reshape(number.shape)))
        assert fits[number >= 0].all()
        expected[np.arange(9), (np.arange(9) + turn) % 9] = mismatched.ravel()[place]
        if turn == 0:
            np.testing.assert_allclose(found.diagonal(), matched.ravel()[place], atol=2e-5)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.std() > 1e-3, "the case was meant to tell pairs apart"


def test_pairs_of_clips_that_lack_something_are_not_judged(subject, batches, words):
    found = pair_logits(subject, batches, np.arange(3), words[:3], modalities=("video", "text"))
    assert np.isnan(found).all(), "the head compares text with video and sound"


def _directions(draw, clips: int, texts: int):
    def unit(count):
        vectors = draw.normal(size=(count, 5))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    owner = np.sort(draw.integers(0, clips, texts))
    text = Side(unit(texts), owner, np.array([f"text {number}" for number in range(texts)], object))
    return directions_of({"video": Side(unit(clips), np.arange(clips)), "text": text}, clips)


@pytest.mark.parametrize("k", [1, 4, 100])
@pytest.mark.parametrize("seed", range(3))
def test_ranks_agree_with_a_slow_loop(seed, k):
    draw = np.random.default_rng(seed)
    for one in _directions(draw, 20, 45):
        entries = shortlist(one, k)
        odds = np.round(draw.normal(size=entries.shape), 1)
        odds[draw.random(odds.shape) < 0.1] = np.nan
        worst, best = reranked(one, entries, odds)
        exact = one.query.vectors.astype(np.float64) @ one.gallery.vectors.astype(np.float64).T
        for row, clip in enumerate(one.query.clip):
            order = np.argsort(-exact[row], kind="stable")
            listed, rest = order[:k], order[k:]
            right = one.gallery.clip[listed] == clip
            if right.any():
                own = [value for value, hit in zip(odds[row], right, strict=True) if hit and not np.isnan(value)]
                wrong = odds[row][~right]
                bar = max(own) if own else -np.inf
                against = np.isnan(wrong) | (wrong >= bar - TIE) | (not own)
                for_it = np.isnan(wrong) | (wrong > bar + TIE) | (not own)
                assert (worst[row], best[row]) == (1 + against.sum(), 1 + for_it.sum())
            else:
                place = next(n for n, entry in enumerate(rest) if one.gallery.clip[entry] == clip)
                assert worst[row] == best[row] == k + 1 + place


def test_a_tie_at_the_end_of_the_shortlist_counts_against_the_model():
    """All entries alike: the right one is listed by chance, and the head's praise of it changes nothing."""
    same = np.full((6, 2), np.sqrt(0.5), np.float32)
    side = Side(same, np.arange(6))
    one = directions_of({"video": side, "text": dataclasses.replace(side, words=np.array(list("abcdef"), object))}, 6)[
        0
    ]
    entries = shortlist(one, 3)
    odds = (entries == np.arange(6)[:, None]).astype(float)
    worst, best = reranked(one, entries, odds)
    assert worst.tolist() == [6] * 6
    assert best.tolist() == [1, 1, 1, 1, 1, 1]


# A head looks at every pair of a clip and a caption, one by one.
@pytest.mark.parametrize(
    "which", ["first", pytest.param("all", marks=pytest.mark.slow(reason="asks a head for every pair"))]
)
def test_the_evaluator_ranks_by_the_head(which, subject, matcher, batches):
    """With a list of the whole gallery the order is that of the head alone, which is asked pair by pair."""
    result = RetrievalEvaluator(batches, "shapes", "test", captions=which, rerank=50).run(subject)
    assert {name.split("/")[0] for name in result.metrics if "/reranked/" in name} == {
        "text_to_video+audio", "video+audio_to_text",
    }  # fmt: skip
    texts = texts_of(batches, which)
    count = len(texts.words)
    media, text = np.divmod(np.arange(9 * count), count)
    odds = pair_logits(subject, batches, media, [texts.words[one] for one in text]).reshape(9, count)
    forward = [1 + sum(odds[:, t] >= odds[clip, t] - TIE) - 1 for t, clip in enumerate(texts.clip)]
    backward = [
        1 + sum(odds[clip][texts.clip != clip] >= odds[clip][texts.clip == clip].max() - TIE) for clip in range(9)
    ]
    for name, ranks in (("text_to_video+audio", forward), ("video+audio_to_text", backward)):
        assert result.metrics[f"{name}/reranked/mean_rank"] == np.mean(ranks)
        assert result.metrics[f"{name}/reranked/r@1"] == np.mean(np.array(ranks) == 1)
        told = [row["ranks"][f"{name}/reranked"] for row in result.predictions]
        assert np.ravel(told).tolist() == ranks
        assert len(np.ravel([row["scores"][f"{name}/reranked"] for row in result.predictions])) == len(ranks)
    assert "50 best" in result.protocol["reranked"] and "video+audio_to_text" in result.protocol["reranked"]


def test_each_pair_is_judged_once_and_comes_back_in_its_place(subject, batches, words):
    side = Side(np.eye(9, dtype=np.float32), np.arange(9))
    found = {"video+audio": side, "text": dataclasses.replace(side, words=np.array(words, object))}
    one, other = directions_of(found, 9)
    lists = [np.array([[3, 1], [0, 7]] + [[2, 2]] * 7), np.array([[5, 8]] * 9)]
    odds = match_logits(subject, batches, np.arange(9), list(zip([one, other], lists, strict=True)))
    media = [(one.source == "text", lists[0]), (other.source == "text", lists[1])]
    for (by_text, entries), values in zip(media, odds, strict=True):
        query = np.repeat(np.arange(9), 2)
        clips, texts = (entries.ravel(), query) if by_text else (query, entries.ravel())
        expected = pair_logits(subject, batches, clips, [words[text] for text in texts])
        np.testing.assert_allclose(values.ravel(), expected, atol=2e-5)


def test_without_a_matching_head_it_says_so(learner, batches):
    with pytest.raises(ValueError, match="evaluation.rerank needs a matching head, but the run has none"):
        RetrievalEvaluator(batches, "shapes", "test", rerank=3).run(EvaluatedModel(learner))


def test_what_the_head_cannot_judge_is_null(subject, batches, config):
    """With video and text alone it scores no pair: right entries come last, and the file holds no NaN."""
    seen = Batches(config, masked=False, train=False, modalities=("video", "text"), assets=batches.assets())
    result = RetrievalEvaluator(seen, "shapes", "test", rerank=4, modalities=("video", "text")).run(subject)
    assert not any("/reranked/" in name for name in result.metrics) and result.protocol["reranked"].endswith("none")
    whole = RetrievalEvaluator(batches, "shapes", "test", rerank=4, modalities=("video", "text")).run(subject)
    assert whole.metrics["text_to_video+audio/reranked/r@1"] == 0
    told = [row["scores"]["text_to_video+audio/reranked"] for row in whole.predictions]
    assert all(set(scores.values()) == {None} for scores in told)
