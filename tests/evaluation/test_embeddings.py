"""A learner over a corpus: every clip once, the same whatever the batch and the mesh; and the files it ends in."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from mmvideo.evaluation.embeddings import embed_corpus
from mmvideo.evaluation.inference import spread
from mmvideo.evaluation.qualitative.gallery import clip_view, gallery_queries
from mmvideo.evaluation.qualitative.visualize import attention_views, content_of, reconstructions
from mmvideo.evaluation.runner import EvaluationResult, evaluate, write_result
from mmvideo.evaluation.tasks.retrieval import ProbeEvaluator, RetrievalEvaluator
from mmvideo.input.config import Packing, Source
from mmvideo.input.device_put import device_put_batch
from mmvideo.input.pipeline import Batches
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh


@pytest.fixture(scope="module")
def found(learner, batches):
    return embed_corpus(learner, batches)


def test_every_clip_comes_once_in_order(found, batches):
    assert found.clip_index.tolist() == list(range(9))
    assert found.ids == [batches.clip_id(number) for number in range(9)]
    assert set(found.vectors) == {"video", "audio", "text"}
    assert {"video", "audio", "text", "video+audio"} <= set(found.features)
    for vector in found.vectors.values():
        np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1.0, atol=1e-5)
    assert all(present.all() for present in found.present.values())


def test_neither_packing_nor_mesh_changes_an_embedding(found, learner, config):
    other = dataclasses.replace(config, packing=Packing(rows=8, tokens=140, clips=2))
    mesh = make_mesh(Mesh(data=4, fsdp=2))
    place = functools.partial(device_put_batch, mesh=mesh)
    again = embed_corpus(learner, Batches(other, masked=False, train=False), place)
    assert again.ids == found.ids
    for name in found.vectors:
        np.testing.assert_allclose(again.vectors[name], found.vectors[name], atol=2e-5)
    for name in found.features:
        np.testing.assert_allclose(again.features[name], found.features[name], atol=2e-4)
    for kind in found.labels:
        np.testing.assert_array_equal(again.labels[kind], found.labels[kind])


def test_limit_takes_some_clips_whole(found, learner, config):
    narrow = dataclasses.replace(config, packing=Packing(rows=1, tokens=80, clips=3))
    some = embed_corpus(learner, Batches(narrow, masked=False, train=False), limit=4)
    assert 4 <= len(some.ids) < 9
    rows = [found.ids.index(clip) for clip in some.ids]
    np.testing.assert_allclose(some.vectors["video"], found.vectors["video"][rows], atol=2e-5)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 12, 100, 1597])
def test_spread_visits_each_step_once_and_early_everywhere(steps):
    order = spread(steps)
    assert sorted(order) == list(range(steps))
    if steps >= 100:
        assert {place * 4 // steps for place in order[:8]} == {0, 1, 2, 3}


def test_a_clip_seen_twice_is_refused(learner, config, corpus):
    twice = dataclasses.replace(config, sources=(Source(corpus, "test"),))
    training = Batches(twice, masked=False, train=True)

    class TwoEpochs:
        """The batches of training, more of them than one pass has."""

        steps_per_epoch = 2 * training.steps_per_epoch
        iterate, clip_id = training.iterate, training.clip_id

    with pytest.raises(ValueError, match="saw a clip twice"):
        embed_corpus(learner, TwoEpochs())


@pytest.mark.slow(reason="fits linear probes of every kind of label on every modality, whose answers it compares")
def test_evaluators_write_their_files(learner, batches, config, corpus, tmp_path):
    train = Batches(dataclasses.replace(config, sources=(Source(corpus, "train"),)), masked=False, train=False)
    kinds = batches.annotations.single
    measures = [
        RetrievalEvaluator(batches, "shapes", "test", oracle={"text_to_video/r@1": 0.5}),
        ProbeEvaluator(train, batches, kinds, "shapes", "test", neighbours=3, classes=batches.classes),
    ]
    results = evaluate(measures, learner, None, tmp_path, step=7)
    assert sorted(path.name for path in (tmp_path / "evals").iterdir()) == [
        "probes.json", "probes.predictions.jsonl", "retrieval.json", "retrieval.predictions.jsonl",
    ]  # fmt: skip
    written = json.loads((tmp_path / "evals" / "retrieval.json").read_text())
    digests = {"sha256", "predictions_sha256"}
    assert set(written) == {"metrics", "dataset", "split", "checkpoint_step", "clips", "protocol"} | digests
    assert written["checkpoint_step"] == 7 and written["clips"] == 9 and "pessimistic" in written["protocol"]["ties"]
    for source in ("video", "audio", "text"):
        for target in {"video", "audio", "text"} - {source}:
            assert written["metrics"][f"{source}_to_{target}/chance"] == pytest.approx(1 / 9)
            assert 0 <= written["metrics"][f"{source}_to_{target}/r@1"] <= 1
    assert written["metrics"]["text_to_video/oracle"] == 0.5
    lines = (tmp_path / "evals" / "retrieval.predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == [batches.clip_id(number) for number in range(9)]
    ranks = [row["ranks"]["text_to_video"] for row in rows]
    assert np.mean(np.array(ranks) <= 5) == written["metrics"]["text_to_video/r@5"]
    assert all(len(row["scores"]["audio_to_text"]) == 5 for row in rows)
    probes = results["probes"]
    for kind in kinds:
        for modality in ("video", "audio", "text", "video+audio"):
            accuracy = probes.metrics[f"{kind}/{modality}/linear/accuracy"]
            right = [row["scores"][f"{kind}/{modality}/linear"] == row["truth"][kind] for row in probes.predictions]
            assert accuracy == pytest.approx(np.mean(right))


def test_a_label_that_is_not_there_is_named(learner, batches, tmp_path):
    with pytest.raises(ValueError, match=r"label 'mood', which the corpus lacks; it has: .*visual"):
        evaluate([ProbeEvaluator(batches, batches, ("mood",), "shapes", "test")], learner, None, tmp_path, 1)


def test_a_metric_that_is_not_finite_is_null(tmp_path):
    result = EvaluationResult({"a": float("nan"), "b": np.float32(0.5)}, [], {}, "d", "s", 1)
    path = write_result(tmp_path, "odd", result, 3)
    assert json.loads(path.read_text())["metrics"] == {"a": None, "b": 0.5}


def test_reconstructions_show_what_was_hidden(learner, config, batches):
    hiding = Batches(config, masked=True, train=False)
    shown = reconstructions(learner, hiding.batch(0), hiding.clip_id, count=2)
    assert [one.modality for one in shown] == ["video", "video", "audio", "audio"]
    plain = batches.batch(0)
    for one in shown:
        assert one.masked.shape == one.reconstruction.shape == one.original.shape
        assert one.hidden == pytest.approx(0.5, abs=0.1)
        row, slot = _find(plain, batches, one.id)
        content, cells = content_of(plain, one.modality, row, slot)
        if one.modality == "video":
            cut = (one.masked == 205).reshape(2, 2, 2, 16, 2, 16, 3).all(axis=(1, 3, 5, 6))
            hidden = cut.repeat(2, axis=0).repeat(16, axis=1).repeat(16, axis=2)
            first = content[(cells == 0).all(axis=1)][0].reshape(2, 16, 16, 3)
            np.testing.assert_array_equal(one.original[:2, :16, :16], first)
        else:
            hidden = np.isnan(one.masked)
            assert not np.isnan(one.reconstruction).any()
        assert hidden.mean() == pytest.approx(one.hidden, abs=0.05)
        np.testing.assert_array_equal(one.reconstruction[~hidden], one.original[~hidden])
        assert (one.reconstruction[hidden] != one.original[hidden]).any()


def _find(stream, batches, clip: str) -> tuple[int, int]:
    """Row and slot of a clip in a batch."""
    for row, slot in zip(*np.nonzero(stream.clips.clip_index >= 0), strict=True):
        if batches.clip_id(int(stream.clips.clip_index[row, slot])) == clip:
            return int(row), int(slot)
    raise AssertionError(f"{clip} is not in the batch")


def test_attention_is_that_of_the_clips_own_tokens(learner, batches):
    stream = batches.batch(0)
    views = attention_views(learner, stream, batches.clip_id, lambda number: f"clip {number}", count=2)
    assert [view.source for view in views] == ["text", "audio"] * 2
    weights = np.asarray(learner.trunk.attention_map(jax.tree.map(lambda a: a[:2], stream), 1)).mean(axis=1)
    for view in views:
        assert view.weights.shape == (2, 2, 2) and view.frames.shape == (4, 32, 32, 3)
        assert view.weights.sum() == pytest.approx(1.0, abs=1e-5)
        assert sum(view.shares.values()) == pytest.approx(1.0, abs=1e-4), "a clip's tokens see nothing but the clip"
    row, slot = _find(stream, batches, views[0].id)
    own = stream.layout.clip[row] == slot
    asks, seen = own & (stream.layout.modality[row] == 2), own & (stream.layout.modality[row] == 0)
    expected = weights[row][asks][:, seen].mean(axis=0)
    np.testing.assert_allclose(views[0].weights.ravel(), expected / expected.sum(), rtol=1e-3)
    below = attention_views(learner, stream, batches.clip_id, str, count=1, layer=0)
    assert [view.source for view in below] == ["video"], "before modalities meet only the pictures see pictures"


def test_gallery_holds_the_right_clip_and_plays(found, batches):
    from mmvideo.media.decode import decode

    queries = gallery_queries(found, batches.corpus.record, count=3, best=4)
    assert [(q.source, q.target) for q in queries[::3]] == [("text", "video"), ("audio", "video"), ("video", "text")]
    for query in queries:
        right = [one for one in query.ranked if one.right]
        assert len(right) == 1 and right[0].clip.id == query.query.id
        assert [one.rank for one in query.ranked[:4]] == [1, 2, 3, 4]
        assert len(query.ranked) == (4 if right[0].rank <= 4 else 5) and query.clips == 9
        assert len({one.clip.id for one in query.ranked}) == len(query.ranked)
    clip = decode(queries[0].query.media)
    assert clip.frames is not None and clip.samples is not None and clip.frames.shape[1] == 128


def test_a_clip_that_cannot_be_decoded_is_shown_by_its_words(batches):
    record = dataclasses.replace(batches.corpus.record(0), media=b"not a film")
    view = clip_view(record)
    assert view.media is None and view.frame is None and view.caption == record.captions[0]
