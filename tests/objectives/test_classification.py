"""Classification against a slow float64 reference, with its gradient, and its kinds of pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from slow import slopes
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.transformer import MultimodalTransformer
from mmvideo.objectives import Classification

NO_TRUNK = nnx.Module()
LABELS = {"shape": np.array([0, 2, -1, 1, 3], np.int32)}


@pytest.fixture(scope="module")
def batch():
    """Five clips: the third has no label, the fourth no sound, the fifth a label beyond the classes."""
    clips = [random_clip(n, ("video", "text") if n == 3 else ("video", "audio", "text"), hide=False) for n in range(5)]
    stream = jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3, labels=LABELS, hidden=()))
    trunk = MultimodalTransformer(TINY, SPEC, rngs=nnx.Rngs(0))
    return stream, jax.jit(lambda stream: trunk(stream))(stream)


@pytest.mark.parametrize("pooling", ["mean", "map"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_the_reference(batch, pooling, smoothing):
    """Cross entropy with smoothed targets, and the gradient by what is added to every logit."""
    stream, features = batch
    objective = Classification("shape", 3, smoothing=smoothing, pooling=pooling)
    graph, state = nnx.split(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)))

    def loss(state):
        return objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state)
    heads = nnx.merge(graph, state)
    pooled, _ = heads.pooler(features, len(features.taps) - 1, ("video", "audio"), 3)
    logits = np.asarray(heads.logits(pooled), np.float64).reshape(6, 3)[:2]

    def reference(added):
        losses = []
        for answer, label in zip(logits + added, LABELS["shape"], strict=False):
            wanted = np.full(3, smoothing / 3)
            wanted[label] += 1 - smoothing
            losses.append(-(wanted * (answer - np.log(np.exp(answer).sum()))).sum())
        return np.mean(losses)

    np.testing.assert_allclose(value, reference(np.zeros(3)), rtol=1e-5)
    slope = slopes(reference, [np.zeros(3)])[0]
    np.testing.assert_allclose(gradient["logits"]["dense"]["bias"].get_value(), slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["accuracy"], np.mean(logits.argmax(axis=1) == LABELS["shape"][:2]))
    assert (metrics["clips"], metrics["foreign_labels"]) == (2, 1)


def test_class_tokens_must_be_there(batch):
    stream, features = batch
    objective = Classification("shape", 3, pooling="class")
    with pytest.raises(ValueError, match="model.class_tokens"):
        objective.loss(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)), features, stream, NO_TRUNK)


def test_a_clip_without_sound_counts_where_any_modality_will_do(batch):
    stream, features = batch
    objective = Classification("shape", 3, require="any")
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    loss, metrics = objective.loss(heads, features, stream, NO_TRUNK)
    pooled, _ = heads.pooler(features, len(features.taps) - 1, ("video", "audio"), 3)
    logits = np.asarray(heads.logits(pooled), np.float64).reshape(6, 3)[[0, 1, 3]]
    wanted = LABELS["shape"][[0, 1, 3]]
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(3), wanted]
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-5)
    assert (metrics["clips"], metrics["foreign_labels"]) == (3, 1)
