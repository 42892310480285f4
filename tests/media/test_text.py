"""Tokenizers: special pieces, round trips, the same bytes every time, and threads."""

from __future__ import annotations

import concurrent.futures
import pickle
import warnings

import pytest

from mmvideo.media.text import Tokenizer, train

COLOURS, SHAPES, WAYS = ("red", "green", "blue", "yellow"), ("circle", "square", "triangle"), ("left", "right", "up")
TEXTS = [f"a {c} {s} moves {w} while a bell rings" for c in COLOURS for s in SHAPES for w in WAYS] + [
    "Zwölf Boxkämpfer"
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(TEXTS, 60)


def test_special_pieces_are_apart_and_first(tokenizer):
    t = tokenizer
    assert [t.pad_id, t.unk_id, t.bos_id, t.eos_id, t.mask_id, t.cls_id] == [0, 1, 2, 3, 4, 5]
    assert [t.piece(n) for n in range(6)] == ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "<cls>"]
    assert all(n not in range(6) for text in TEXTS for n in t.encode(text)[:-1])


def test_round_trip(tokenizer):
    for text in TEXTS:
        ids = tokenizer.encode(text)
        assert ids[-1] == tokenizer.eos_id and tokenizer.eos_id not in ids[:-1]
        assert tokenizer.decode(ids) == text
    assert tokenizer.encode("") == [tokenizer.eos_id]


def test_decoding_stops_at_the_end_and_leaves_special_pieces_out(tokenizer):
    t = tokenizer
    ids = t.encode("a red circle")
    noisy = [t.bos_id, t.cls_id, ids[0], t.mask_id, *ids[1:], t.pad_id, t.pad_id, *t.encode("left")]
    assert t.decode(noisy) == "a red circle"


def test_special_pieces_written_out_are_plain_text(tokenizer):
    assert tokenizer.mask_id not in tokenizer.encode("a <mask> circle")


def test_unknown_letters_are_unknown(tokenizer):
    assert tokenizer.unk_id in tokenizer.encode("日本")


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_the_same_texts_give_the_same_bytes(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = (train(iter(TEXTS), 50, kind) for _ in range(2))
    assert first.model == second.model


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("vocabulary", [1, 10000])
def test_a_vocabulary_that_does_not_fit_is_clamped_aloud(kind, vocabulary):
    with pytest.warns(UserWarning, match=f"not {vocabulary}"):
        tokenizer = train(TEXTS, vocabulary, kind)
    assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == TEXTS[0]
    assert 6 < tokenizer.vocabulary < 10000


def test_a_vocabulary_that_fits_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(TEXTS, 50, "bpe").vocabulary == 50


@pytest.mark.parametrize("texts", [[], ["", "  \n"]])
def test_no_text(texts):
    with pytest.raises(ValueError, match="no text"):
        train(texts, 100)


def test_one_letter_is_enough():
    with pytest.warns(UserWarning):
        tokenizer = train(["a"], 100)
    assert tokenizer.decode(tokenizer.encode("a")) == "a"


def test_save_load_and_pickle(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.model")
    for other in (Tokenizer.load(tmp_path / "tokenizer.model"), pickle.loads(pickle.dumps(tokenizer))):
        assert other.model == tokenizer.model
        assert other.encode(TEXTS[3]) == tokenizer.encode(TEXTS[3])


def test_what_is_no_model(tmp_path):
    (tmp_path / "a.model").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="a.model: 7 bytes that are no SentencePiece model"):
        Tokenizer.load(tmp_path / "a.model")
    with pytest.raises(ValueError):
        Tokenizer(b"")
    with pytest.raises(FileNotFoundError):
        Tokenizer.load(tmp_path / "nowhere.model")


def test_wrong_numbers(tokenizer):
    for wrong in (-1, tokenizer.vocabulary):
        with pytest.raises(ValueError, match=f"piece {wrong} "):
            tokenizer.decode([wrong])


def test_a_model_of_another_maker_gets_the_pieces_that_it_lacks(tmp_path):
    import io

    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    other = Tokenizer(model.getvalue())
    special = [other.pad_id, other.unk_id, other.bos_id, other.eos_id, other.mask_id, other.cls_id]
    assert len(set(special)) == 6 and max(special) == other.vocabulary - 1
    assert other.decode([*other.encode(TEXTS[0])[:-1], other.mask_id]) == TEXTS[0]


def test_threads_may_share_one(tokenizer):
    expected = [tokenizer.encode(text) for text in TEXTS] * 20
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tokenizer.encode, TEXTS * 20)) == expected
