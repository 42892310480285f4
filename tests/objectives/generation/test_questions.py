"""Questions and answers: only answers count, and they are generated after the clip's own question."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from captioned import BEGIN, END, SMALL, SPEC, caption
from flax import nnx
from synthetic_streams import make_stream

from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import Captioning
from mmvideo.objectives.generation.config import Decoding
from mmvideo.objectives.generation.questions import questions
from mmvideo.objectives.generation.text_generation import Prompt
from mmvideo.stream import PADDING

MARK = 6
ASKED = dataclasses.replace(SPEC, text=dataclasses.replace(SPEC.text, answer_id=MARK))
ANSWERS = Captioning(answers=True)


def asked_clips():
    """A question whose mark is hidden, one without a mark, one with a second caption, and one without words."""
    return [
        caption(0, ("video", "text"), [7, 8, MARK, 9, MARK, 10], hidden=(3,)),
        caption(1, ("video", "text"), [7, 8, 9]),
        caption(2, ("audio", "text"), [MARK, 12], captions=[[MARK, 30]]),
        caption(3, ("video", "audio"), []),
        caption(4, ("video", "text"), [11, 12, 13, 14, 15, MARK]),
    ]


@pytest.fixture(scope="module")
def made():
    """Return heads and backbone."""
    return ANSWERS.heads(SMALL, ASKED, rngs=nnx.Rngs(0)), MultimodalTransformer(SMALL, ASKED, rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def stream():
    return jax.tree.map(jnp.asarray, make_stream(asked_clips(), 2, 3, spec=ASKED))


def test_only_answers_are_predicted(made, stream):
    place, text_tokens, clip = ANSWERS.next_tokens(stream, MARK)
    found = [
        [
            [int(piece) for piece, at, own in zip(*each, strict=True) if at != PADDING and own == slot]
            for slot in range(3)
        ]
        for each in zip(text_tokens, place, clip, strict=True)
    ]
    assert found == [[[9, MARK, 10, END], [], [12, END]], [[], [END], []]]
    heads, backbone = made
    features = nnx.jit(lambda backbone, stream: backbone(stream))(backbone, stream)
    _, metrics = ANSWERS.loss(heads, features, stream, backbone)
    assert (metrics["tokens"], metrics["clips"]) == (7, 3)
    _, metrics = Captioning().loss(heads, features, stream, backbone)
    assert (metrics["tokens"], metrics["clips"]) == (21, 4)


def test_questions_end_with_the_mark(stream):
    """One that leaves no room for an answer counts as none, as does a caption without the mark."""
    found = questions(stream, MARK, 8)
    assert found.length.tolist() == [[3, 0, 1], [0, 6, 0]]
    assert found.text_tokens[0, 0, :3].tolist() == [7, 8, MARK] and found.text_tokens[0, 2, 0] == MARK
    assert questions(stream, MARK, 7).length.tolist() == [[3, 0, 1], [0, 0, 0]]


def test_answers_are_written_behind_their_questions(made, stream):
    """The answer that is there already is not looked at: it is as if the question had been given by hand."""
    heads, backbone = made
    decoding = Decoding("beam", beams=2)
    found = nnx.jit(lambda *parts: ANSWERS.generate(*parts, decoding))(heads, stream, backbone)
    assert found.written.tolist() == [[True, False, True], [False, True, False]]
    assert found.text_tokens[0, 0, :4].tolist() == [BEGIN, 7, 8, MARK] and found.given[0, 0] == 4
    text_tokens = np.zeros((2, 3, 6), np.int32)
    text_tokens[0, 0, :3], text_tokens[0, 2, 0], text_tokens[1, 1] = (7, 8, MARK), MARK, (11, 12, 13, 14, 15, MARK)
    prompt = Prompt(text_tokens, np.array([[3, 0, 1], [0, 6, 0]], np.int32))
    by_hand = nnx.jit(lambda *parts: Captioning().generate(*parts, decoding, prompt))(heads, stream, backbone)
    np.testing.assert_array_equal(by_hand.text_tokens[found.written], found.text_tokens[found.written])
    np.testing.assert_allclose(by_hand.score[found.written], found.score[found.written], atol=1e-5)


def test_answers_need_their_mark():
    with pytest.raises(ValueError, match="the tokenizer has no token <answer>"):
        ANSWERS.heads(SMALL, SPEC, rngs=nnx.Rngs(0))
