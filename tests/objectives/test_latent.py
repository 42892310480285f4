"""Latent prediction: against a slow reference, and a teacher that survives all that a run goes through."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.evaluation.runner import EvaluatedModel
from mmvideo.evaluation.tasks.held_out_losses import LossEvaluator
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.weights.load import restore
from mmvideo.model.config import Decoder, Fusion
from mmvideo.objectives.latent import LatentPrediction
from mmvideo.objectives.learner import Learner
from mmvideo.parallel import config
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.rules import batch_sharding
from mmvideo.training.checkpoint.checkpoints import Checkpoints
from mmvideo.training.config import Optimizer, Training
from mmvideo.training.state import init_abstract
from mmvideo.training.step import make_step

SMALL = dataclasses.replace(TINY, depth=1, fusion=Fusion("early"))
PREDICTOR = Decoder(1, 24, 2, "clip")
OBJECTIVE = LatentPrediction(video=0.5, audio=2.0, predictor=PREDICTOR, decay=0.75)
CLIPS = [("video", "audio", "text"), ("video", "text"), ("audio",), ("video", "audio", "text")]


def make_learner(objective=OBJECTIVE):
    """Return a learner, made in one jitted function, whose teacher differs from the backbone."""

    def make():
        return Learner(SMALL, SPEC, {"latent": objective}, rngs=nnx.Rngs(0))

    learner = nnx.merge(nnx.graphdef(nnx.eval_shape(make)), jax.jit(lambda: nnx.state(make()))())
    averages = learner.heads["latent"].teacher.parameters
    for number, name in enumerate(averages):
        noise = np.random.default_rng(number).normal(size=averages[name].shape)
        averages[name].set_value(averages[name].get_value() + jnp.asarray(0.05 * noise, jnp.float32))
    return learner


@functools.partial(jax.jit, static_argnums=0)
def differentiate(graph, params, variables, stream):
    """Loss, metrics, the variables after it, and the gradient of the parameters."""

    def loss(params):
        learner = nnx.merge(graph, params, variables)
        total, metrics = learner.losses(stream)
        return total, (metrics, nnx.state(learner, nnx.Not(nnx.Param)))

    return jax.value_and_grad(loss, has_aux=True)(params)


@functools.partial(jax.jit, static_argnums=0)
def see(graph, state, stream):
    return nnx.merge(graph, state)(stream)


@functools.partial(jax.jit, static_argnums=0)
def answer(graph, state, stream):
    learner = nnx.merge(graph, state)
    return learner.heads["latent"](learner.trunk(stream), stream)


def run(learner, stream):
    graph, params, variables = nnx.split(learner, nnx.Param, ...)
    pure = nnx.to_pure_dict(params), nnx.to_pure_dict(variables)
    (total, (metrics, after)), gradient = differentiate(graph, *pure, stream)
    return total, metrics, after, gradient


@pytest.fixture(scope="module")
def learner():
    return make_learner()


@pytest.fixture(scope="module")
def stream():
    clips = [random_clip(seed, kinds) for seed, kinds in enumerate(CLIPS)]
    return jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3))


def averaged(learner, decay):
    """Return the backbone with the parameters of the teacher after one step."""
    teacher, parameters = learner.heads["latent"].teacher.parameters, nnx.state(learner.trunk, nnx.Param)
    values = [
        decay * np.asarray(teacher[".".join(path)].get_value(), np.float64)
        + (1 - decay) * np.asarray(variable.get_value(), np.float64)
        for path, variable in nnx.to_flat_state(parameters)
    ]
    leaves = [jnp.asarray(value, jnp.float32) for value in values]
    graph, state = nnx.split(learner.trunk)
    return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(state), leaves)), values


def reference(learner, stream, decay):
    """Losses of both modalities by loops over the hidden tokens, those of answering with the mean, and gradients."""
    # The same clips with nothing hidden, woven by the input room.
    clips = [random_clip(seed, kinds, hide=False) for seed, kinds in enumerate(CLIPS)]
    whole = jax.tree.map(jnp.asarray, make_stream(clips, 2, 3))
    wanted = np.asarray(see(*nnx.split(averaged(learner, decay)[0]), whole).top, np.float64)
    answers = answer(*nnx.split(learner), stream)
    losses, flat, signs = {}, {}, {}
    for kind, name in enumerate(("video", "audio")):
        target, found, aims = stream.targets[name], [], []
        for row, slot in zip(*np.nonzero(np.asarray(target.target_index) >= 0), strict=True):
            cell = np.asarray(stream.decode.grid[row, target.target_index[row, slot]])
            here = (
                (whole.layout.clip[row] == target.clip[row, slot])
                & (whole.layout.modality[row] == kind)
                & (whole.layout.grid[row] == cell).all(axis=-1)
            )
            feature = wanted[row, int(np.flatnonzero(here)[0])]
            aims.append((feature - feature.mean()) / np.sqrt(feature.var() + 1e-6))
            found.append(np.asarray(answers[name][row, slot], np.float64))
        signs[name] = np.mean([np.sign(a - b) for a, b in zip(found, aims, strict=True)], axis=0) / len(aims[0])
        losses[name] = np.mean([np.abs(a - b).mean() for a, b in zip(found, aims, strict=True)])
        flat[name] = np.mean([np.abs(a - np.mean(aims, axis=0)).mean() for a in aims])
    return losses, flat, signs


@pytest.mark.parametrize("training", [True, False])
def test_the_loss_is_the_reference(learner, stream, training):
    learner.train() if training else learner.eval()
    total, metrics, after, gradient = run(learner, stream)
    losses, flat, signs = reference(learner, stream, 0.75 if training else 1.0)
    for name in ("video", "audio"):
        np.testing.assert_allclose(metrics[f"latent/{name}/loss"], losses[name], rtol=2e-5)
        np.testing.assert_allclose(metrics[f"latent/{name}/mean_loss"], flat[name], rtol=2e-5)
        assert (metrics[f"latent/{name}/tokens"], metrics[f"latent/{name}/clips"]) == (6, 3)
        bias = gradient["heads"]["latent"]["answers"][name]["bias"]
        np.testing.assert_allclose(bias, getattr(OBJECTIVE, name) * signs[name], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(total, 0.5 * losses["video"] + 2.0 * losses["audio"], rtol=2e-5)
    assert metrics["latent/decay"] == 0.75
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient)), "everything that is learned learns"

    teacher = after["heads"]["latent"]
    assert int(teacher["steps"]) == (1 if training else 0)
    wanted = averaged(learner, 0.75 if training else 1.0)[1]
    for (path, _), value in zip(nnx.to_flat_state(nnx.state(learner.trunk, nnx.Param)), wanted, strict=True):
        found = teacher["teacher"]["parameters"][".".join(path)]
        np.testing.assert_allclose(found, value, rtol=1e-6, atol=1e-6 if training else 0)


def test_nothing_hidden_gives_nothing(learner):
    learner.train()
    clips = [random_clip(seed, kinds, hide=False) for seed, kinds in enumerate(CLIPS)]
    total, metrics, _, gradient = run(learner, jax.tree.map(jnp.asarray, make_stream(clips, rows=2, slots=3)))
    assert total == 0 and all(not np.any(leaf) for leaf in jax.tree.leaves(gradient))
    assert all(value == 0 for name, value in metrics.items() if name != "latent/decay")


def test_the_decay_goes_in_a_straight_line():
    ramped = LatentPrediction(decay=0.9, last_decay=1.0, ramp=4)
    heads = nnx.eval_shape(lambda: ramped.heads(SMALL, SPEC, rngs=nnx.Rngs(0)))
    found = []
    for step in range(6):
        heads.steps.set_value(jnp.int32(step))
        found.append(float(heads.decay()))
    np.testing.assert_allclose(found, [0.9, 0.925, 0.95, 0.975, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"video": 0.0, "audio": 0.0}, "not both 0"),
        ({"decay": 1.5}, "decay 1.5 must be in"),
        ({"last_decay": 1.0}, "belong together"),
        ({"ramp": 10}, "belong together"),
    ],
)
def test_wrong_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        LatentPrediction(**settings)


def test_what_a_run_lacks_is_told():
    with pytest.raises(ValueError, match="latent_prediction needs video or audio"):
        OBJECTIVE.heads(SMALL, dataclasses.replace(SPEC, video=None, audio=None), rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def plan():
    """A run on four devices: its blueprint and its step."""
    mesh = make_mesh(config.Mesh(1, 2, 2), jax.devices()[:4])
    training = Training(steps=5, optimizer=Optimizer(warmup=1, learning_rate=1e-2))

    def learner(rngs):
        return Learner(SMALL, SPEC, {"latent": OBJECTIVE}, rngs=rngs)

    with jax.set_mesh(mesh):
        blueprint = init_abstract(learner, training, mesh)
        yield mesh, training, blueprint, make_step(blueprint.graphdef, training)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def batches(mesh, stream):
    """Two good batches and one that is not a number."""
    broken = dataclasses.replace(stream, content=stream.content | {"audio": stream.content["audio"] * jnp.nan})
    other = jax.tree.map(jnp.asarray, make_stream([random_clip(seed) for seed in range(5, 9)], 2, 3))
    return [jax.device_put(batch, batch_sharding(mesh)) for batch in (stream, other, broken)]


@pytest.mark.slow(reason="compiles a step and saves checkpoints")
def test_the_teacher_survives_a_run(plan, stream, tmp_path):
    mesh, training, blueprint, step = plan
    first, second, broken = batches(mesh, stream)
    state = blueprint.create()
    backbone, teacher = state.params["trunk"], state.variables["heads"]["latent"]["teacher"]["parameters"]
    for path, parameter in jax.tree.leaves_with_path(backbone):
        average = teacher[".".join(key.key for key in path)]
        assert average.sharding == parameter.sharding and bits(average) == bits(parameter)
    assert teacher["blocks.qkv_kernel"].addressable_shards[0].data.size * 4 == teacher["blocks.qkv_kernel"].size

    # A bad step leaves it as it is, and does not count for the decay.
    before = bits(state.variables)
    state, metrics = step(state, broken)
    assert metrics["skipped"] == 1 and bits(state.variables) == before
    state, _ = step(state, first)

    # Saved and restored, the run goes on with the same bits.
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(2, state, {"spec.json": json.dumps(dataclasses.asdict(SPEC)).encode()})
        checkpoints.wait()
        again = checkpoints.restore(blueprint.abstract)
    assert bits(again) == bits(state)
    moved = bits(state.variables)
    state, _ = step(state, second)
    again, _ = step(again, second)
    assert bits(again) == bits(state) and bits(state.variables) != moved
    averages = jax.tree.leaves(state.variables["heads"]["latent"]["teacher"])
    for average, parameter in zip(averages, jax.tree.leaves(state.params["trunk"]), strict=True):
        assert average.sharding == parameter.sharding


@pytest.mark.slow(reason="compiles a step and saves checkpoints")
def test_a_restored_learner_measures_held_out_losses(plan, stream, tmp_path):
    mesh, training, blueprint, _ = plan
    experiment = Experiment("tiny", model=SMALL, objectives={"latent": OBJECTIVE}, training=training)
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        state = blueprint.create()
        checkpoints.save(1, state, {"spec.json": json.dumps(dataclasses.asdict(SPEC)).encode()})
    learner, _, _ = restore(experiment, tmp_path, mesh)
    assert bits(nnx.state(learner, nnx.Not(nnx.Param))) == bits(state.variables)

    class Batches:
        steps_per_epoch = 1

        def iterate(self, start, stop):
            yield 0, jax.device_put(stream, batch_sharding(mesh))

    found = LossEvaluator(Batches(), "clips", "test").run(EvaluatedModel(learner)).metrics
    assert np.isfinite(list(found.values())).all() and found["latent/audio/tokens"] == 6
