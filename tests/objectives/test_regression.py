"""Regression against a slow float64 reference, with its gradient; clips without a number take no part."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from slow import slopes
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.objectives import Regression

NO_TRUNK = nnx.Module()
SENTIMENT = np.array([[1.5, np.nan, -3.0], [0.25, 2.0, np.nan]], np.float32)


@pytest.fixture(scope="module")
def batch():
    """Five clips: the second has no number, the fourth no audio."""
    clips = [random_clip(n, ("video", "text") if n == 3 else ("video", "audio", "text"), hide=False) for n in range(5)]
    stream = make_stream(clips, rows=2, slots=3, hidden=())
    targets = {"sentiment": SENTIMENT[..., None], "axes": np.zeros((2, 3, 2), np.float32)}
    stream = dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, targets=targets))
    stream = jax.tree.map(jnp.asarray, stream)
    backbone = MultimodalTransformer(TINY, SPEC, rngs=nnx.Rngs(0))
    return stream, jax.jit(lambda stream: backbone(stream))(stream)


@pytest.mark.parametrize("range", [None, (-3.0, 3.0), (-3.0, 5.0)])
@pytest.mark.parametrize("error", ["l1", "mse", "smooth_l1"])
@pytest.mark.parametrize("require, places", [("all", [0, 2, 4]), ("any", [0, 2, 3, 4])])
def test_the_loss_is_the_reference(batch, error, range, require, places):
    stream, features = batch
    objective = Regression("sentiment", error=error, beta=0.5, range=range, require=require)
    graph, state = nnx.split(objective.heads(TINY, SPEC, rngs=nnx.Rngs(1)))

    def loss(state):
        return objective.loss(nnx.merge(graph, state), features, stream, NO_TRUNK)

    (value, metrics), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(state)
    heads = nnx.merge(graph, state)
    pooled, _ = heads.pooler(features, heads.tap(features), ("video", "audio"), 3)
    answer = np.asarray(heads.logits(pooled), np.float64).reshape(6)[places]
    truth = SENTIMENT.reshape(6)[places].astype(np.float64)
    middle, half = {None: (0, 1), (-3.0, 3.0): (0, 3), (-3.0, 5.0): (1, 4)}[range]

    def reference(added):
        away = np.abs(answer + added - (truth - middle) / half)
        return {
            "l1": away,
            "mse": away**2,
            "smooth_l1": np.where(away < 0.5, away**2, away - 0.25),
        }[error].mean()

    np.testing.assert_allclose(value, reference(np.zeros(1)), rtol=1e-5)
    slope = slopes(reference, [np.zeros(1)])[0]
    np.testing.assert_allclose(gradient["logits"]["dense"]["bias"].get_value(), slope, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["mae"], np.abs(answer * half + middle - truth).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["mean_mae"], np.abs(truth - truth.mean()).mean(), rtol=1e-5)
    assert metrics["clips"] == len(places)
    told = objective.predict(nnx.merge(graph, state), features, stream, NO_TRUNK)
    np.testing.assert_allclose(told["value"].reshape(6)[jnp.array(places)], answer * half + middle, rtol=1e-5)
    # The second clip's number is unknown, but not what it is made of.
    assert told["known"].reshape(6).tolist() == [True, True, True, require == "any", True, False]


def test_no_number_gives_nothing(batch):
    stream, features = batch
    objective = Regression("sentiment", after_fusion=True)
    heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
    nothing = {"sentiment": jnp.full((2, 3, 1), jnp.nan)}
    stream = dataclasses.replace(stream, clips=dataclasses.replace(stream.clips, targets=nothing))

    def loss(top):
        return objective.loss(heads, dataclasses.replace(features, taps=(*features.taps[:-1], top)), stream, NO_TRUNK)

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(features.top)
    assert value == 0 and not np.any(gradient) and not any(metrics.values())


def test_what_the_corpus_lacks_is_told(batch):
    stream, features = batch
    for label, words in [("mood", "it has axes, sentiment"), ("axes", "'axes' has 2 numbers a clip: it must be one")]:
        objective = Regression(label)
        heads = objective.heads(TINY, SPEC, rngs=nnx.Rngs(1))
        with pytest.raises(ValueError, match=words):
            objective.loss(heads, features, stream, NO_TRUNK)
