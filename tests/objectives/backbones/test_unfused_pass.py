"""Heads that see only their `modalities`, whatever else a clip has."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.model.baselines.config import CnnLstm
from mmvideo.model.config import Fusion
from mmvideo.objectives import Classification, Regression
from mmvideo.objectives.learner import Learner

FUSIONS = {
    "mid": Fusion("mid", 2),
    "media first": Fusion("mid", 2, 1),
    "bottleneck": Fusion("bottleneck", 2, bottlenecks=2),
    "cross": Fusion("cross", 2),
}
BASELINE = CnnLstm(channels=(4,), width=8, word=8, dense=(12, 6), compute="float32")
MODELS = {name: dataclasses.replace(TINY, fusion=fusion) for name, fusion in FUSIONS.items()} | {"baseline": BASELINE}


def answers(learner, clips):
    learner.eval()
    graph, state = nnx.split(learner)
    stream = jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=2, hidden=()))
    found = jax.jit(lambda state, stream: nnx.merge(graph, state).predict(stream)["it"])(state, stream)
    return {name: np.asarray(value).reshape(4, -1) for name, value in found.items()}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("name, others", [("video", ("audio", "text")), ("audio", ("video", "text"))])
def test_a_head_of_one_modality_knows_no_other(model, name, others):
    """The same answers to the bit whatever the others hold, and but for rounding where they are absent."""
    learner = Learner(model, SPEC, {"it": Classification("shape", 3, (name,))}, rngs=nnx.Rngs(0))
    clips = [random_clip(seed, hide=False) for seed in range(4)]
    replaced = [clip | {other: random_clip(9, hide=False)[other] for other in others} for clip in clips]
    whole, changed, alone = (
        answers(learner, batch) for batch in (clips, replaced, [{name: clip[name]} for clip in clips])
    )
    assert whole["known"].all() and alone["known"].all()
    np.testing.assert_array_equal(whole["logits"], changed["logits"])
    np.testing.assert_allclose(whole["logits"], alone["logits"], atol=1e-5)
    assert np.ptp(whole["logits"], axis=0).max() > 0.01


def test_after_fusion_it_knows_all():
    objective = Classification("shape", 3, ("video",), after_fusion=True)
    learner = Learner(MODELS["mid"], SPEC, {"it": objective}, rngs=nnx.Rngs(0))
    clips = [random_clip(seed, hide=False) for seed in range(4)]
    replaced = [clip | {"audio": random_clip(9, hide=False)["audio"]} for clip in clips]
    whole, changed = (answers(learner, batch)["logits"] for batch in (clips, replaced))
    assert np.abs(whole - changed).max() > 1e-3


@pytest.mark.parametrize(
    "fusion, objective, words",
    [
        (
            Fusion("early"),
            Classification("x", 2, ("video",)),
            "uses video only, but audio, text can be seen from the",
        ),
        (Fusion("mid", 0), Regression("x", ("audio",)), "regression.after_fusion=True if it may use video, text too"),
        (
            Fusion("mid", 2),
            Classification("x", 2),
            "meet only in layers where text can be seen: set fusion.media",
        ),
        (Fusion("bottleneck", 1), Classification("x", 2), "uses video \\+ audio together"),
    ],
)
def test_a_fusion_without_such_a_layer_is_refused(fusion, objective, words):
    model = dataclasses.replace(TINY, fusion=fusion)
    with pytest.raises(ValueError, match=f"objective 'it': .*{words}"):
        Learner(model, SPEC, {"it": objective}, rngs=nnx.Rngs(0))
    Learner(model, SPEC, {"it": dataclasses.replace(objective, after_fusion=True)}, rngs=nnx.Rngs(0))


@pytest.mark.parametrize(
    "fusion, modalities, tap",
    [
        (Fusion("mid", 2, 1), ("video",), 0),
        (Fusion("mid", 2, 1), ("video", "audio"), 1),
        (Fusion("mid", 2, 1), ("video", "audio", "text"), 2),
        (Fusion("mid", 2, text="causal"), ("video", "audio"), 1),
        (Fusion("mid", 2, text="causal"), ("text",), 0),
        (Fusion("late"), ("video", "audio"), 0),
    ],
)
def test_the_deepest_such_layer_is_read(fusion, modalities, tap):
    model = dataclasses.replace(TINY, fusion=fusion)
    learner = Learner(model, SPEC, {"it": Classification("x", 2, modalities)}, rngs=nnx.Rngs(0))
    stream = jax.tree.map(jnp.asarray, make_stream([random_clip(0, hide=False)], 1, 1, hidden=()))
    found = []

    def look():
        features = learner.trunk(stream)
        found.append(learner.heads["it"].tap(features))
        return features.top

    jax.eval_shape(look)
    assert found == [tap]
