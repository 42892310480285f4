"""The search: against an enumeration of all texts, and draws against the tokens that are allowed."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.objectives.generation.beam_search import (
    NEG_INF,
    SearchConfig,
    extend_search,
    init_search,
    penalty,
    sampled_logits,
)
from mmvideo.objectives.generation.config import Decoding
from mmvideo.stream import TextSpec

VOCABULARY, END, MASK = 5, 0, 4
TEXT = TextSpec(VOCABULARY, 6, MASK, begin_id=3, end_id=END)
"""Words are 1 and 2; the begin mark and the mask are never written."""

ROOM = [4, 2, 3]
"""Pieces that the texts of three clips may have."""


def logits_of(clip, text):
    """Any model's: they depend on the clip and on everything that is written."""
    return np.random.default_rng([clip, len(text), *text]).normal(size=VOCABULARY) * 2


def search(decoding, text_tokens=4):
    """The search for the texts of three clips in one row, of which the last is not wanted."""
    keys = jax.random.split(jax.random.key(3), len(ROOM))[None]
    rules = SearchConfig(decoding, TEXT, jnp.array([ROOM]), keys)
    found = init_search(rules, jnp.array([[True, True, False]]), text_tokens)
    for number in range(text_tokens):
        live = np.asarray(found.text_tokens)[0, :, :, :number]
        logits = np.array([[logits_of(clip, text) for clip, text in enumerate(texts)] for texts in live.tolist()])
        found, _ = extend_search(found, jnp.asarray(logits[None], jnp.float32), jnp.int32(number), rules)
    return found


def everything(clip, alpha, shortest=0):
    """Return rank, score and tokens of every text that a clip can have: ended, or of full length."""
    texts = []
    for length in range(ROOM[clip] + 1):
        for words in itertools.product((1, 2), repeat=length):
            texts += [words] if length == ROOM[clip] else [(*words, END)]
    found = []
    for text in texts:
        if text[-1] == END and len(text) <= shortest:
            continue
        score = 0.0
        for number, piece in enumerate(text):
            chances = logits_of(clip, text[:number])
            score += chances[piece] - np.log(np.exp(chances).sum())
        found.append((score / ((5 + len(text)) / 6) ** alpha, score, text))
    return max(found)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 4.0])
@pytest.mark.parametrize("shortest", [0, 2])
def test_enough_beams_find_the_best_of_all_texts(alpha, shortest):
    found = search(Decoding("beam", beams=8, length_penalty=alpha, shortest=shortest))
    best = []
    for clip in (0, 1):
        rank, score, text = everything(clip, alpha, shortest)
        assert found.best[0, clip].tolist() == [*text, *[END] * (4 - len(text))]
        np.testing.assert_allclose(found.best_score[0, clip], score, rtol=1e-5)
        np.testing.assert_allclose(found.best_rank[0, clip], rank, rtol=1e-5)
        best.append(text)
    assert found.done.all() and found.best_rank[0, 2] == NEG_INF


def test_the_penalty_favours_long_texts():
    lengths = [len(everything(0, alpha)[2]) for alpha in (0.0, 4.0)]
    assert lengths[0] < lengths[1]
    np.testing.assert_allclose(penalty(jnp.array([1, 7]), 2.0), [1.0, 4.0])
    np.testing.assert_array_equal(penalty(jnp.array([1, 7]), 0.0), 1.0)


def test_greedy_takes_the_likeliest_each_time():
    found, text = search(Decoding()), []
    while len(text) < ROOM[0] and END not in text:
        chances = logits_of(0, text)
        text.append(int(np.argmax(np.where(np.isin(np.arange(VOCABULARY), (MASK, 3)), -np.inf, chances))))
    assert found.best[0, 0].tolist() == [*text, *[END] * (4 - len(text))]


def test_what_is_drawn_from_is_what_is_asked_for():
    chances = jnp.log(jnp.array([0.05, 0.4, 0.05, 0.3, 0.2]))

    def inside(**settings):
        return np.flatnonzero(sampled_logits(chances, Decoding("sample", **settings)) > NEG_INF).tolist()

    assert inside() == [0, 1, 2, 3, 4]
    assert inside(top_k=1) == [1] and inside(top_k=3) == [1, 3, 4] and inside(top_k=9) == [0, 1, 2, 3, 4]
    assert inside(top_k=4) == [0, 1, 3, 4], "of equal ones that of the lower number"
    # 0.4, 0.7, 0.9, 0.95, 1: the fewest whose sum reaches p.
    assert inside(top_p=0.35) == [1] and inside(top_p=0.65) == [1, 3] and inside(top_p=0.85) == [1, 3, 4]
    assert inside(top_p=0.93) == [0, 1, 3, 4] and inside(top_p=1e-6) == [1]
    # Of the three likeliest 0.4 is 4/9, and with 0.3 7/9.
    assert inside(top_k=3, top_p=0.5) == [1, 3] and inside(top_p=0.41) == [1, 3]
    # Hot, all are nearly alike: two of them have less than half.
    assert inside(temperature=100.0, top_p=0.5) == [1, 3, 4]
    np.testing.assert_allclose(sampled_logits(chances, Decoding("sample", temperature=2.0)), chances / 2)


def test_pieces_are_drawn_as_often_as_they_are_likely():
    clips, decoding = 4000, Decoding("sample", temperature=2.0, top_k=3)
    rules = SearchConfig(decoding, TEXT, jnp.full((1, clips), 1), jax.random.split(jax.random.key(0), (1, clips)))
    logits = jnp.log(jnp.array([0.05, 0.4, 0.3, 0.2, 0.05]))
    found, _ = extend_search(
        init_search(rules, jnp.ones((1, clips), bool), 1),
        jnp.broadcast_to(logits, (1, 1, clips, 5)),
        jnp.int32(0),
        rules,
    )
    # Number 3 is the begin mark: what is left of the likeliest three is 1, 2 and 0.
    want = np.sqrt([0.05, 0.4, 0.3])
    share = np.bincount(np.asarray(found.best[0, :, 0]), minlength=5) / clips
    np.testing.assert_allclose(share, [*(want / want.sum()), 0, 0], atol=0.03)
    np.testing.assert_allclose(np.exp(found.best_score[0]), np.exp(logits)[found.best[0, :, 0]], rtol=1e-5)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"beams": 0}, "keep at least 1"),
        ({"method": "beam", "length_penalty": -1.0}, "must be 0 or more"),
        ({"method": "sample", "temperature": 0.0}, "must be above 0"),
        ({"method": "sample", "top_k": 0}, "top_k is 0"),
        ({"method": "sample", "top_p": 1.5}, "top_p 1.5"),
        ({"length": 1}, "length is 1"),
        ({"shortest": -1}, "shortest is -1"),
        ({"top_k": 3}, "top_k is for decoding.method sample, not greedy"),
        ({"method": "sample", "length_penalty": 0.6}, "length_penalty is for decoding.method beam, not sample"),
    ],
)
def test_wrong_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        Decoding(**settings)
