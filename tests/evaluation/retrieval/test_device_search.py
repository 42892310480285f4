"""Search on a mesh of eight devices gives the host's results, with ties, near ties and NaN."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mmvideo.evaluation.retrieval import device_search
from mmvideo.evaluation.retrieval.device_search import mesh_candidates, mesh_counts, mesh_for
from mmvideo.evaluation.retrieval.exact_search import count_higher_ranked_negatives, most_similar
from mmvideo.evaluation.retrieval.positive_pairs import positive_pairs
from mmvideo.evaluation.retrieval.recall_at_k import Direction, Side
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(Mesh(data=2, fsdp=2, tensor=2))


def unit(array):
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture(params=["spread", "near ties", "equal", "not numbers"])
def case(request):
    """Queries, a gallery whose size no number of devices divides, and groups of which some have several members."""
    draw = np.random.default_rng(0)
    if request.param == "near ties":
        query, gallery = (unit(np.ones(24) + 2e-3 * draw.normal(size=(size, 24))) for size in (90, 301))
    elif request.param == "equal":
        some = (draw.integers(-1, 2, (40, 24)) / 4).astype(np.float32)
        query, gallery = some[draw.integers(0, 40, 90)], some[draw.integers(0, 40, 301)]
    else:
        gallery = unit(draw.normal(size=(301, 24)))
        query = unit(gallery[:90] + 0.3 * draw.normal(size=(90, 24)))
    if request.param == "not numbers":
        gallery[[7, 200, 300]], query[5] = np.nan, np.nan
    return query, gallery, draw.integers(0, 60, 90), draw.integers(0, 60, 301)


@pytest.fixture(params=[(1024, 4096), (32, 5)], ids=["one block", "blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(device_search, "BLOCK", request.param)


def test_counts_and_best_entries_are_those_of_the_host(mesh, case, blocks):
    query, gallery, own, groups = case
    right = positive_pairs(query, gallery, own, groups)
    for expected, found in zip(
        count_higher_ranked_negatives(query, gallery, right),
        count_higher_ranked_negatives(query, gallery, right, mesh=mesh),
        strict=True,
    ):
        np.testing.assert_array_equal(found, expected)
    for k in (3, 400):
        for expected, found in zip(
            most_similar(query, gallery, k), most_similar(query, gallery, k, mesh=mesh), strict=True
        ):
            np.testing.assert_array_equal(found, expected)


def test_what_the_devices_answer_is_right_where_nothing_is_in_doubt(mesh, blocks):
    """The host recomputes open pairs; here there are none, so that only the devices are tested."""
    draw = np.random.default_rng(1)
    query, gallery = unit(draw.normal(size=(70, 16))), unit(draw.normal(size=(203, 16)))
    own, groups = draw.integers(0, 50, 70), draw.integers(0, 50, 203)
    exact = query.astype(np.float64) @ gallery.T.astype(np.float64)
    bar = np.linspace(-0.5, 0.5, 70)
    wrong = own[:, None] != groups[None]
    width = np.float32(0.05)
    above, between = mesh_counts(query, gallery, own, groups, np.float32(bar) - width, np.float32(bar) + width, mesh)
    np.testing.assert_array_equal(above, (wrong & (exact > bar[:, None] + 0.05)).sum(axis=1))
    np.testing.assert_array_equal(between, (wrong & (abs(exact - bar[:, None]) <= 0.05)).sum(axis=1))
    place, least = mesh_candidates(query, gallery, 9, mesh)
    np.testing.assert_array_equal(place, np.argsort(-exact, axis=1)[:, :9])
    np.testing.assert_allclose(least, np.sort(exact, axis=1)[:, -9], rtol=1e-6)


def test_a_gallery_lies_in_parts_and_is_nowhere_whole(mesh):
    parts, groups = device_search._spread(np.ones((1000, 8), np.float32), np.arange(1000), mesh)
    assert {shard.data.shape[0] * 8 for shard in parts.addressable_shards} == {parts.shape[0]}
    assert sorted(np.asarray(groups).ravel())[-1000:] == list(range(1000)) and parts.shape[0] * parts.shape[1] < 1100


def test_small_searches_stay_on_the_host(mesh, monkeypatch):
    assert mesh_for(mesh, 10, 10, 8) is None and mesh_for(None, 10**6, 10**6, 512) is None
    assert mesh_for(mesh, 10**5, 10**5, 512) is mesh
    one = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1, 1), mesh.axis_names)
    assert mesh_for(one, 10**5, 10**5, 512) is None, "a lone CPU device is the host"
    vectors, clips = unit(np.random.default_rng(2).normal(size=(40, 8))), np.arange(40)
    sides = Side(vectors, clips), Side(vectors[::-1], clips)
    host = Direction("video", "text", *sides, 0)
    monkeypatch.setattr(device_search, "WORTH", 0)
    asked = []
    monkeypatch.setattr(device_search, "_blocks", lambda *a, real=device_search._blocks: asked.append(1) or real(*a))
    spread = Direction("video", "text", *sides, 0, mesh)
    np.testing.assert_array_equal(spread.ranking.worst, host.ranking.worst)
    np.testing.assert_array_equal(spread.most_similar(3)[0], host.most_similar(3)[0])
    assert len(asked) == 2
