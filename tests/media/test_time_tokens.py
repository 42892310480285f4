"""Events of a clip: to a text and back, and whatever a model may have written."""

import random

import pytest

from mmvideo.media.text import train
from mmvideo.media.time_tokens import BINS, read_events, write_events


def test_the_text_of_events():
    events = [(10.0, 20.0, "it  barks <t=3>"), (0.0, 5.0, " a dog runs ")]
    assert write_events(events, 20.0, 5) == "<t=0><t=1> a dog runs <t=2><t=4> it barks"
    assert read_events("<t=0><t=1> a dog runs <t=2><t=4> it barks", 20.0, 5) == [
        (0.0, 5.0, "a dog runs"),
        (10.0, 20.0, "it barks"),
    ]
    assert write_events([], 3.0) == "" and read_events("", 3.0) == []


def test_round_trip():
    """To half of the way between two moments, of short events to a whole one."""
    draw = random.Random(0)
    for seconds in (0.7, 20.0, 341.5):
        moments = [sorted(draw.uniform(0, seconds) for _ in range(2)) for _ in range(20)]
        moments += [[seconds, seconds], [0.0, 0.0]]
        events = sorted((start, end, f"event < {number} >") for number, (start, end) in enumerate(moments))
        found, way = read_events(write_events(events, seconds), seconds), seconds / (BINS - 1)
        assert [caption for *_, caption in found] == [caption for *_, caption in events]
        for (start, end, _), (first, last, _) in zip(events, found, strict=True):
            most = way if end - start < way else 0.5 * way
            assert abs(first - start) < most + 1e-9 and abs(last - end) < most + 1e-9 and 0 <= first < last <= seconds


@pytest.mark.parametrize(
    "text, captions",
    [
        ("words first <t=1><t=2> a", ["a"]),
        ("<t=1> one moment <t=2><t=3> b", ["b"]),
        ("<t=1><t=2><t=3> three moments", ["three moments"]),
        ("<t=3><t=2> backwards <t=2><t=2> at once <t=1><t=9> c", ["c"]),
        ("<t=1><t=100> beyond <t=1><t=99> d", ["d"]),
        ("<t=1><t=2>  <t=3><t=4> no words", ["no words"]),
        ("<t=1> <t=2>\n e  e ", ["e e"]),
        ("<t=1><t=2> f <t=5>", ["f"]),
        ("<t=1><t=2", []),
        ("<t=-1><t=x><t=> <t=1><t=99999999999999999999> g", []),
        ("<t=1><t=2> a < b <t=", ["a < b <t="]),
    ],
)
def test_what_is_malformed_is_passed_over(text, captions):
    assert [event.caption for event in read_events(text, 10.0)] == captions


@pytest.mark.parametrize(
    "event",
    [(-1.0, 2.0, "a"), (3.0, 2.0, "a"), (1.0, 11.0, "a"), (1.0, 2.0, " <t=3> "), (float("nan"), 2.0, "a")],
)
def test_what_is_no_event(event):
    with pytest.raises(ValueError, match="0 <= start <= end <= 10.0, the clip's length"):
        write_events([event], 10.0)


def test_clips_need_a_length_and_moments():
    with pytest.raises(ValueError, match="a clip of 0.0 seconds"):
        read_events("", 0.0)
    with pytest.raises(ValueError, match="with 1 moments"):
        write_events([], 2.0, 1)


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_each_moment_is_a_piece(kind):
    captions = [f"a {colour} dog runs and barks" for colour in ("red", "green", "blue")]
    text = write_events([(0.0, 4.0, captions[0]), (3.0, 9.0, captions[1])], 10.0, 12)
    with pytest.warns(UserWarning):
        tokenizer = train([*captions, text], 90, kind, time_tokens=12)
    assert tokenizer.time_tokens == 12 and tokenizer.answer_id is None
    text_tokens = tokenizer.encode(text)
    assert sum(tokenizer.piece(piece).startswith("<t=") for piece in text_tokens) == 4
    assert tokenizer.decode(text_tokens) == text
    with pytest.warns(UserWarning):
        assert train(captions, 90, kind).time_tokens == 0


def test_the_mark_before_answers_is_a_piece_where_texts_have_it():
    texts = [f"what is the colour? <answer> {colour}" for colour in ("red", "green", "blue")]
    with pytest.warns(UserWarning):
        tokenizer = train(texts, 100)
    assert tokenizer.piece(tokenizer.answer_id) == "<answer>"
    text_tokens = tokenizer.encode(texts[0])
    assert text_tokens.count(tokenizer.answer_id) == 1 and tokenizer.decode(text_tokens) == texts[0]
    with pytest.raises(ValueError, match="-1 time tokens"):
        train(texts, 100, time_tokens=-1)
