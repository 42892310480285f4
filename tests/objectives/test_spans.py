"""Contrastive spans: against a slow reference that looks each hidden patch up in the unmasked clips."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.config import Decoder, Fusion
from mmvideo.objectives.learner import Learner
from mmvideo.objectives.spans import ContrastiveSpans

MODEL = dataclasses.replace(TINY, depth=2, fusion=Fusion("mid", 1), decoder=Decoder(1, 24, 2, "clip"))
OBJECTIVE = ContrastiveSpans(video=0.5, audio=2.0, width=8, temperature=0.2)
CLIPS = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text")]


@functools.cache
def make():
    """The learner in parts: graph, parameters and other variables."""

    def build():
        return Learner(MODEL, SPEC, {"spans": OBJECTIVE}, rngs=nnx.Rngs(0))

    graph = nnx.graphdef(nnx.eval_shape(build))
    return graph, *jax.jit(lambda: nnx.split(build(), nnx.Param, ...)[1:])()


@functools.partial(jax.jit, static_argnums=0)
def run(graph, params, rest, stream):
    """Loss, metrics, gradient, and the two sides that are compared."""

    def loss(params):
        learner = nnx.merge(graph, params, rest)
        total, metrics = learner.losses(stream)
        return total, metrics

    learner = nnx.merge(graph, params, rest)
    sides = OBJECTIVE.sides(learner.heads["spans"], learner.trunk(stream), stream, learner.trunk)
    return *jax.value_and_grad(loss, has_aux=True)(params), sides


@functools.partial(jax.jit, static_argnums=0)
def apart(graph, params, rest, stream):
    """Features of each modality by itself, projected as partners."""
    learner = nnx.merge(graph, params, rest)
    features = learner.trunk(stream)
    return {name: learner.heads["spans"].partners[name](features.tokens((name,))) for name in ("video", "audio")}


def streams(hide: bool = True):
    clips = [random_clip(seed, kinds, hide=hide) for seed, kinds in enumerate(CLIPS)]
    return jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3))


@pytest.fixture(scope="module")
def found():
    return run(*make(), streams())


def reference(stream, sides):
    """Losses and accuracies by loops, with partners from the clips that hide nothing."""
    whole = streams(hide=False)
    partners = apart(*make(), whole)
    losses, hits = {}, {}
    for kind, name in enumerate(("video", "audio")):
        target, a, b = stream.targets[name], [], []
        for row, slot in zip(*np.nonzero(np.asarray(target.target_index) >= 0), strict=True):
            cell = np.asarray(stream.decode.grid[row, target.target_index[row, slot]])
            here = (
                (whole.layout.clip[row] == target.clip[row, slot])
                & (whole.layout.modality[row] == kind)
                & (whole.layout.grid[row] == cell).all(axis=-1)
            )
            b.append(np.asarray(partners[name][row, int(np.flatnonzero(here)[0])], np.float64))
            a.append(np.asarray(sides[name][0][row, slot], np.float64))
        cosines = np.array(a) @ np.array(b).T
        one_way = [np.log(np.exp(line / 0.2).sum()) - line[k] / 0.2 for k, line in enumerate(cosines)]
        back = [np.log(np.exp(line / 0.2).sum()) - line[k] / 0.2 for k, line in enumerate(cosines.T)]
        losses[name] = (np.mean(one_way) + np.mean(back)) / 2
        hits[name] = np.mean([line.argmax() == k for rows in (cosines, cosines.T) for k, line in enumerate(rows)])
    return losses, hits


def test_the_loss_is_the_reference(found):
    (total, metrics), gradient, sides = found
    losses, hits = reference(streams(), sides)
    for name in ("video", "audio"):
        np.testing.assert_allclose(metrics[f"spans/{name}/loss"], losses[name], rtol=2e-5)
        np.testing.assert_allclose(metrics[f"spans/{name}/accuracy"], hits[name], rtol=1e-6)
        np.testing.assert_allclose(metrics[f"spans/{name}/chance_loss"], np.log(6), rtol=1e-6)
        np.testing.assert_allclose(metrics[f"spans/{name}/temperature"], 0.2, rtol=1e-6)
        assert (metrics[f"spans/{name}/tokens"], metrics[f"spans/{name}/clips"]) == (6, 3)
    np.testing.assert_allclose(total, 0.5 * losses["video"] + 2.0 * losses["audio"], rtol=2e-5)
    still = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient))
        if not np.any(leaf)
    ]
    # A bias of all keys changes no softmax; what is hidden is neither cut nor compared as text.
    assert [name for name in still if "log_scale" in name or "partners" in name or "answers" in name] == []


def test_the_gradient_of_the_temperature_is_that_of_the_reference(found):
    (_, metrics), gradient, sides = found
    for name in ("video", "audio"):
        a, b, hidden = (np.asarray(part, np.float64) for part in sides[name])
        a, b = (part.reshape(-1, 8)[hidden.reshape(-1) > 0] for part in (a, b))
        cosines, slope = a @ b.T, 0.0
        for scores in (cosines, cosines.T):
            weights = np.exp(scores / 0.2) / np.exp(scores / 0.2).sum(axis=1, keepdims=True)
            slope += ((weights * scores).sum(axis=1) - np.diagonal(scores)).mean() / 2 / 0.2
        found_slope = gradient["heads"]["spans"]["log_scale"][name]
        np.testing.assert_allclose(found_slope, getattr(OBJECTIVE, name) * slope, rtol=1e-4)


def test_nothing_hidden_gives_nothing():
    (total, _), gradient, _ = run(*make(), streams(hide=False))
    assert total == 0 and all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"audio": 0.0}, "not both 0"),
        ({"temperature": 0.001}, "temperature 0.001 must be"),
        ({"width": 0}, "width 0 must be"),
        ({"chunk": 0}, "chunk 0 must be"),
    ],
)
def test_wrong_settings_are_told(settings, words):
    with pytest.raises(ValueError, match=words):
        ContrastiveSpans(**settings)


@pytest.mark.parametrize(
    ("model", "spec", "words"),
    [
        (dataclasses.replace(MODEL, fusion=Fusion("early")), SPEC, "before it meets other modalities"),
        (MODEL, dataclasses.replace(SPEC, audio=None), "needs audio, which the run does not have"),
    ],
)
def test_a_run_that_it_cannot_serve_is_told(model, spec, words):
    with pytest.raises(ValueError, match=words):
        ContrastiveSpans().heads(model, spec, rngs=nnx.Rngs(0))


def test_its_parameters_can_be_donated():
    """A trainer gives its state away at every step, which no two parameters may share."""
    state = nnx.state(ContrastiveSpans(video=1.0, audio=1.0).heads(MODEL, SPEC, rngs=nnx.Rngs(0)), nnx.Param)
    grown = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 1, state), donate_argnums=0)(state)
    assert float(grown["log_scale"]["video"].get_value()) == float(grown["log_scale"]["audio"].get_value())
