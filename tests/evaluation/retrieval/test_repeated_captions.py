"""Retrieval where clips share captions: `distinct` rows, the gallery, the page's warning, and zero-shot beside them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.build import build
from mmvideo.evaluation.embeddings import Embeddings
from mmvideo.evaluation.metrics.classification import classification_metrics
from mmvideo.evaluation.qualitative.gallery import gallery_queries
from mmvideo.evaluation.report.parts.metric_tables import repeated_note, retrieval_table
from mmvideo.evaluation.retrieval.recall_at_k import Side, directions_of, distinct_captions, retrieval
from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.retrieval import RetrievalEvaluator
from mmvideo.evaluation.tasks.zero_shot import ZeroShotEvaluator
from mmvideo.input.pipeline import Batches


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_captions_are_equal_but_for_blanks():
    words = np.array(["a dog", "a cat", " a  dog", "a cow", "a dog"], object)
    said = distinct_captions(Side(np.zeros((5, 2)), np.array([3, 4, 5, 6, 6]), words))
    assert words[said.first].tolist() == ["a cat", "a cow", "a dog"]
    assert list(zip(said.caption.tolist(), said.clip.tolist(), strict=True)) == [(0, 4), (1, 6), (2, 3), (2, 5), (2, 6)]
    assert said.repeated == 3 / 5


def test_distinct_rows_by_hand():
    """Three clips, two of them with one caption: queries and ranks, counted by hand."""
    video = unit(np.array([[1, 0.1], [0.2, 1], [0, 1]], float))
    text = unit(np.array([[1, 0], [0, 1], [1, 0]], float))
    found = {"video": Side(video, np.arange(3)), "text": Side(text, np.arange(3), np.array(["a", "b", "a"], object))}
    metrics = retrieval(directions_of(found, 3), ks=(1, 2), dual_softmax=None)
    # To "a" the first clip is nearest, which is right; to "b" the third, then the second.
    assert metrics["text_to_video/distinct/r@1"] == 0.5 and metrics["text_to_video/distinct/r@2"] == 1
    assert metrics["text_to_video/distinct/chance"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    # The first and the second clip find their captions among the two; the third finds "b", which is wrong.
    assert metrics["video_to_text/distinct/r@1"] == pytest.approx(2 / 3)
    assert metrics["video_to_text/distinct/chance"] == 0.5 and metrics["video_to_text/distinct/gallery"] == 2
    assert metrics["video_to_text/distinct/clips"] == 3 and metrics["text_to_video/distinct/clips"] == 2
    assert metrics["text_to_video/repeated"] == pytest.approx(2 / 3)
    assert metrics["video_to_text/r@1"] == pytest.approx(1 / 3), "the pessimistic count stays"


def test_a_clip_of_several_captions_is_right_for_each():
    draw = np.random.default_rng(0)
    video, texts = unit(draw.normal(size=(12, 6))), unit(draw.normal(size=(5, 6)))
    captions = [sorted(set(draw.integers(0, 5, 3).tolist())) for _ in range(12)]
    clip = np.repeat(np.arange(12), [len(own) for own in captions])
    said = np.concatenate(captions)
    side = Side(texts[said], clip, np.array([f"caption {one}" for one in said], object))
    found = directions_of({"video": Side(video, np.arange(12)), "text": side}, 12)
    similarity = texts.astype(np.float64) @ video.T.astype(np.float64)
    right = np.array([[one in own for own in captions] for one in range(5)])
    ranks = [
        [1 + (row[~own] > row[own].max()).sum() for row, own in zip(table, mask, strict=True) if own.any()]
        for table, mask in ((similarity, right), (similarity.T, right.T))
    ]
    for one, wanted in zip(sorted(found, key=lambda one: one.source), ranks, strict=True):
        metrics = one.metrics((1, 3))
        assert metrics["distinct/mean_rank"] == pytest.approx(np.mean(wanted)), one.name
        assert metrics["distinct/r@3"] == pytest.approx(np.mean(np.array(wanted) <= 3))


def test_captions_that_differ_have_no_such_rows():
    vectors, words = unit(np.eye(3)), np.array(["a", "b", "c"], object)
    found = {"video": Side(vectors, np.arange(3)), "text": Side(vectors, np.arange(3), words)}
    metrics = retrieval(directions_of(found, 3))
    assert not [name for name in metrics if "distinct" in name or "repeated" in name]
    assert repeated_note(metrics) == "" and "equal captions as one" not in retrieval_table(metrics)


@pytest.fixture(scope="module")
def class_like():
    """Five hundred clips of ten captions, as embeddings near the direction of their class, often nearer another's."""
    draw = np.random.default_rng(1)
    label, names = np.arange(500) % 10, unit(draw.normal(size=(10, 16)))
    video = unit(names[label] + 0.4 * draw.normal(size=(500, 16)))
    words = np.array([f"something of kind {one}" for one in label], object)
    return label, names, {"video": Side(video, np.arange(500)), "text": Side(names[label], np.arange(500), words)}


def test_distinct_retrieval_of_class_like_captions_is_zero_shot_classification(class_like):
    label, names, found = class_like
    metrics = retrieval(directions_of(found, 500))
    scores = found["video"].vectors.astype(np.float64) @ names.T.astype(np.float64)
    classes, _ = classification_metrics(scores, label, [str(one) for one in range(10)])
    assert 0.5 < classes["top1"] < 0.95
    assert abs(metrics["video_to_text/distinct/r@1"] - classes["top1"]) <= 0.01
    assert metrics["video_to_text/distinct/chance"] == pytest.approx(0.1)
    assert metrics["video_to_text/r@10"] == 0, "fifty equal captions stand before the right one"
    page = repeated_note(metrics) + retrieval_table(metrics)
    assert "100% of the captions belong to more than one clip" in page and "equal captions as one" in page


def test_the_gallery_counts_every_clip_of_the_caption(class_like, batches):
    label, _, found = class_like
    clips = np.arange(30)
    vectors = {name: side.vectors[:30] for name, side in found.items()}
    present = {name: np.ones(30, bool) for name in vectors}
    embeddings = Embeddings(clips, [f"clip {clip}" for clip in clips], vectors, present, {}, {}, {})
    record = batches.corpus.record(0)
    captions = [[f"something of kind {one}"] for one in label[:30]]
    shown = gallery_queries(embeddings, lambda clip: record, count=12, best=4, captions=captions)
    words = [query for query in shown if query.source == "text"]
    assert len(words) == 10 and {(query.right, query.clips) for query in words} == {(3, 30)}
    asked = [query for query in shown if query.target == "text"]
    assert len(asked) == 10 and {(query.right, query.clips) for query in asked} == {(1, 10)}
    similarity = vectors["text"][:10] @ vectors["video"].T
    for query, row, own in zip(words, similarity, range(10), strict=True):
        order = np.argsort(-row, kind="stable")
        rank = 1 + int(np.argmax(label[order] == own))
        assert next(one.rank for one in query.ranked if one.right) == rank
        wanted = (label[order[:4]] == own).tolist() if rank <= 4 else [False] * 4 + [True]
        assert [one.right for one in query.ranked] == wanted


@pytest.fixture(scope="module")
def named(corpus, tmp_path_factory) -> str:
    """The shapes of this folder's corpus, with the name of the joint class as the only caption."""
    folder = tmp_path_factory.mktemp("named")
    shutil.copytree(Path(corpus).parent / "clips", folder / "clips")
    manifest = folder / "clips" / "manifest.jsonl"
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row in rows:
        row["captions"] = [row["labels"]["joint"]]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(folder / "clips", folder / "corpus", processes=1, tokenizer_vocabulary=40, progress=False)
    return str(folder / "corpus")


def test_the_evaluators_agree_on_real_clips(named, config, matcher):
    sources = (dataclasses.replace(config.sources[0], path=named),)
    batches = Batches(dataclasses.replace(config, sources=sources), masked=False, train=False)
    subject = EvaluatedModel(matcher)
    found = RetrievalEvaluator(batches, "shapes", "test").run(subject)
    told = {captions[0] for captions in batches.corpus.all_captions()}
    assert told == {name.replace("_", " ") for name in batches.classes["joint"]} and len(told) == 2
    zero = ZeroShotEvaluator(batches, ("joint",), "shapes", "test", prompts=("{}",)).run(subject)
    for group in ("video", "audio", "video+audio"):
        distinct = found.metrics[f"{group}_to_text/distinct/r@1"]
        assert distinct == pytest.approx(zero.metrics[f"joint/{group}/top1"], abs=0.01)
    assert found.metrics["video_to_text/distinct/clips"] == 9
    assert found.metrics["video_to_text/distinct/gallery"] == 2 and "distinct" in found.protocol
