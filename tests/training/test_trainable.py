"""What is trained and what is frozen, on a small real learner: bits, optimiser state, work, rates, meshes."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from flax.traverse_util import flatten_dict
from synthetic_streams import SPEC, TINY, make_stream, random_clip

from mmvideo.experiment.build_learner import configure_tuning
from mmvideo.model.config import Block, Fusion
from mmvideo.objectives import Classification, LatentPrediction
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.parallel.rules import batch_sharding
from mmvideo.training.config import Lora, Optimizer, Training, Tuning
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.state import init_abstract
from mmvideo.training.step import make_step
from mmvideo.training.trainable import trainable_params

STAGED = dataclasses.replace(TINY, width=16, heads=2, feed_forward=32)
MODEL = dataclasses.replace(STAGED, fusion=Fusion("early"), block=Block(drop_path=0.2))
OBJECTIVES = {
    "kind": Classification("kind", 3, ("video",), pooling="map", after_fusion=True),
    "other": Classification("kind", 3, ("text",), after_fusion=True),
}
SGD = Optimizer("sgd", 0.5, "constant", warmup=0, b1=0.0, weight_decay=0.0, clip=None)
ADAM = Optimizer("adamw", 1e-2, "constant", warmup=0, weight_decay=0.5)
LORA = Tuning("lora", Lora(2, 4.0, ("query", "value", "out", "down")))


@functools.cache
def stream():
    clips = [random_clip(seed, hide=False) for seed in range(8)]
    return make_stream(clips, rows=4, slots=2, labels={"kind": np.arange(8) % 3}, hidden=())


def config(tune=Tuning(), optimizer=ADAM, **settings):  # noqa: B008
    return Training(steps=9, tune=tune, optimizer=optimizer, **settings)


def learner_of(training, model=MODEL, objectives=None):
    def build(rngs):
        learner = Learner(model, SPEC, objectives or OBJECTIVES, rngs=rngs)
        configure_tuning(learner, training.tune, rngs)
        return learner

    return build


@functools.cache
def planned(training, mesh=Mesh(), model=MODEL):  # noqa: B008
    """The plan of a state, and the batch on the devices."""
    mesh = make_mesh(mesh, jax.devices()[: int(np.prod([abs(n) for n in dataclasses.astuple(mesh)]))])
    plan = init_abstract(learner_of(training, model), training, mesh)
    return plan, jax.device_put(stream(), jax.tree.map(lambda _: batch_sharding(mesh), stream())), mesh


def lowered(training, mesh=Mesh(), model=MODEL):  # noqa: B008
    plan, batch, mesh = planned(training, mesh, model)
    with jax.set_mesh(mesh):
        places = jax.tree.map(lambda leaf: leaf.sharding, plan.abstract)
        return make_step(plan.graphdef, training, places).lower(plan.abstract, batch)


@functools.cache
def compiled(*what):
    return lowered(*what).compile()


def begin(training, mesh=Mesh(), model=MODEL):  # noqa: B008
    """A new state, its compiled step, and the batch."""
    plan, batch, _ = planned(training, mesh, model)
    return plan.create(), compiled(training, mesh, model), batch


def whole_learner(training, model=MODEL):
    return learner_of(training, model)(nnx.Rngs(0))


def named(params):
    return {".".join(map(str, path)): np.asarray(leaf) for path, leaf in flatten_dict(params).items()}


def moved(training, steps=2, **more):
    """Parameters by name before and after some steps, and the state behind them."""
    state, step, batch = begin(training, **more)
    before = named(state.params)
    for _ in range(steps):
        state, metrics = step(state, batch)
        assert metrics["skipped"] == 0
    return before, named(state.params), state


def sizes(opt_state):
    """Numbers that the optimiser keeps, counters left out."""
    return sum(leaf.size for leaf in jax.tree.leaves(opt_state) if leaf.size > 1)


def test_heads_leave_the_trunk_as_it_is_in_bits_and_keep_no_moments_of_it():
    before, after, state = moved(config(Tuning("heads"), ema=0.5))
    average = named(state.ema)
    for name in before:
        same = np.array_equal(before[name], after[name])
        assert same == name.startswith("trunk."), name
        assert np.array_equal(before[name], average[name]) == same, name
    heads = sum(value.size for name, value in before.items() if name.startswith("heads."))
    assert sizes(state.opt_state) == 2 * heads  # Adam's two moments
    training = config(Tuning("heads"))
    assert trainable_params(whole_learner(training), training).size == heads


def test_what_is_frozen_costs_no_backward_pass():
    """Products of the step as it is traced, before XLA drops anything. It counts a loop's body once: none here."""
    unrolled = dataclasses.replace(MODEL, scan=False)

    def flops(tune):
        return lowered(config(tune), model=unrolled).cost_analysis()["flops"]

    full, heads = flops(Tuning()), flops(Tuning("heads"))
    plan, batch, _ = planned(config(Tuning("heads")), model=unrolled)
    forward = jax.jit(lambda state: nnx.merge(plan.graphdef, state.params, state.variables).losses(batch)[0])
    forward = forward.lower(plan.abstract).cost_analysis()["flops"]
    assert forward < heads < 0.6 * full
    assert heads - forward < 0.35 * (full - forward)
    layers = [flops(Tuning(freeze_layers=count)) for count in (1, 2, 3)]
    assert full > 1.1 * layers[0] > 1.1**2 * layers[1] > 1.1**3 * layers[2] > heads


def test_a_frozen_trunk_skips_no_branches():
    """With the trunk frozen, two steps of a rate of zero see one loss; in full training chance makes two."""
    still = dataclasses.replace(ADAM, learning_rate=0.0)
    for mode, same in (("heads", True), ("full", False)):
        state, step, batch = begin(config(Tuning(mode), still))
        losses = []
        for _ in range(2):
            state, metrics = step(state, batch)
            losses.append(float(metrics["train/loss"]))
        assert (losses[0] == losses[1]) == same, mode


def test_lora_trains_its_factors_and_the_heads_only():
    before, after, state = moved(config(LORA))
    for name in before:
        trained = name.startswith("heads.") or ".lora." in name
        assert np.array_equal(before[name], after[name]) != trained, name
    assert not before["trunk.blocks.lora.out_b_kernel"].any() and after["trunk.blocks.lora.out_b_kernel"].any()
    trained = sum(value.size for name, value in before.items() if name.startswith("heads.") or ".lora." in name)
    assert sizes(state.opt_state) == 2 * trained


def test_lora_starts_from_the_parameters_of_the_model_without_it():
    old, new = (named(planned(each)[0].create().params) for each in (config(), config(LORA)))
    for name, value in old.items():
        np.testing.assert_array_equal(new[name], value, err_msg=name)
    assert all(".lora." in name for name in new.keys() - old.keys())


def test_patterns_freeze_and_thaw():
    before, after, _ = moved(config(Tuning("heads", thaw=("trunk.norms.*",), freeze=("heads.other.*",))))
    for name in before:
        trained = name.startswith(("heads.kind.", "trunk.norms."))
        assert np.array_equal(before[name], after[name]) != trained, name


def test_the_first_layers_keep_their_bits():
    """Though weight decay pulls on all that is trained."""
    before, after, state = moved(config(Tuning(freeze_layers=2), ema=0.5))
    average = named(state.ema)
    for name in before:
        if name.startswith("trunk.blocks."):
            np.testing.assert_array_equal(before[name][:2], after[name][:2], err_msg=name)
            np.testing.assert_array_equal(before[name][:2], average[name][:2], err_msg=name)
            assert not np.array_equal(before[name][2:], after[name][2:]), name
        else:
            frozen = name.startswith(("trunk.embed.", "trunk.position.", "trunk.extra."))
            assert np.array_equal(before[name], after[name]) == frozen, name
    heads = sum(value.size for name, value in before.items() if name.startswith(("heads.", "trunk.norms.")))
    layer = sum(value[0].size for name, value in before.items() if name.startswith("trunk.blocks."))
    assert sizes(state.opt_state) == 2 * (heads + layer)


def updates(training, model):
    """What a gradient of ones makes of every trained parameter of a new learner, by name."""
    learner = whole_learner(training, model)
    portion = trainable_params(learner, training)
    trained = portion.partition(nnx.to_pure_dict(nnx.state(learner, nnx.Param)))
    optimizer = make_optimizer(training.optimizer, training.steps, portion.rates)
    made, _ = optimizer.update(jax.tree.map(jnp.ones_like, trained), optimizer.init(trained), trained)
    return named(made), named(trained)


def test_each_layer_learns_at_its_rate():
    """BEiT's rule for three layers, which meet in two stages: the update of plain descent is the rate."""
    model = dataclasses.replace(STAGED, position="learned")
    made, _ = updates(config(optimizer=dataclasses.replace(SGD, layer_decay=0.5, head_rate=10.0)), model)
    factors = {"trunk.embed": 0.5**4, "trunk.position": 0.5**4, "heads.kind": 10.0, "heads.other": 10.0}
    factors |= {"trunk.norms.apart": 0.5**2, "trunk.norms.media": 0.5, "trunk.norms.fused": 1.0}
    layers = np.array([0.5**3, 0.5**2, 0.5])
    for name, update in made.items():
        group = ".".join(name.split(".")[: 3 if ".norms." in name else 2])
        wanted = layers.reshape(-1, *[1] * (update.ndim - 1)) if group == "trunk.blocks" else factors[group]
        np.testing.assert_allclose(update, np.broadcast_to(-0.5 * wanted, update.shape), rtol=1e-6, err_msg=name)


def test_weight_decay_and_frozen_layers_go_with_the_rates():
    optimizer = dataclasses.replace(SGD, layer_decay=0.5, weight_decay=0.1)
    made, trained = updates(config(Tuning(freeze_layers=1), optimizer), MODEL)
    for number, rate in enumerate((0.25, 0.5)):
        kernel = trained["trunk.blocks.up_kernel"][number]
        np.testing.assert_allclose(made["trunk.blocks.up_kernel"][number], -0.5 * rate * (1 + 0.1 * kernel), rtol=1e-5)
        np.testing.assert_allclose(made["trunk.blocks.up_bias"][number], -0.5 * rate, rtol=1e-6)
    assert len(made["trunk.blocks.up_kernel"]) == 2 and not any(name.startswith("trunk.embed") for name in made)


@pytest.mark.parametrize("name", ["adamw", "muon", "lion", "adafactor", "sgd"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_optimiser_takes_a_portion(name, accumulate):
    optimizer = dataclasses.replace(ADAM, name=name, accumulate=accumulate, layer_decay=0.9)
    plan = planned(config(dataclasses.replace(LORA, freeze_layers=1, thaw=("trunk.norms.*",)), optimizer))[0]
    kept = {jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(plan.abstract.opt_state)}
    assert any("lora" in name for name in kept) and not any("embed" in name or "'qkv_kernel'" in name for name in kept)


@pytest.mark.slow(reason="compiles a step for each tuning")
@pytest.mark.parametrize(
    "tune",
    [Tuning("heads"), dataclasses.replace(LORA, freeze_layers=1), Tuning(freeze_layers=2)],
    ids=["heads", "lora", "layers"],
)
def test_a_mesh_changes_nothing(tune):
    training = config(tune, dataclasses.replace(SGD, layer_decay=0.8), average_from=2)
    one = moved(training)
    many = moved(training, mesh=Mesh(2, 2, 2))
    for name, value in one[1].items():
        np.testing.assert_allclose(many[1][name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    average = named(many[2].ema)
    for name, value in named(one[2].ema).items():
        np.testing.assert_allclose(average[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_factors_and_moments_are_split_over_a_mesh():
    plan = planned(config(dataclasses.replace(LORA, freeze_layers=1)), Mesh(2, 2, 2))[0]
    lora = plan.abstract.params["trunk"]["blocks"]["lora"]
    spread = {name: tuple(leaf.sharding.spec) for name, leaf in lora.items()}
    assert spread["query_a_kernel"] == (None, "fsdp", None)
    assert spread["query_b_kernel"] == (None, None, "tensor", None)
    assert spread["down_a_kernel"] == (None, "tensor", None) and spread["down_b_kernel"] == (None, None, "fsdp")
    moments = plan.abstract.opt_state[1].mu["trunk"]["blocks"]["lora"]
    for name, leaf in moments.items():
        assert leaf.shape == (2, *lora[name].shape[1:]) and leaf.sharding == lora[name].sharding


@pytest.mark.parametrize(
    ("tune", "optimizer", "words"),
    [
        (Tuning(freeze=("trunk.embed.smell.*",)), ADAM, r"training.tune.freeze: no parameter matches 'trunk.embed.sm"),
        (Tuning("heads", thaw=("trunk.nroms.*",)), ADAM, "training.tune.thaw: no parameter matches"),
        (Tuning(freeze=("*",)), ADAM, "nothing is left to train"),
        (Tuning(freeze_layers=4), ADAM, "freeze_layers 4: the model has 3 layers"),
    ],
)
def test_settings_that_cannot_be_meant_are_named(tune, optimizer, words):
    training = config(tune, optimizer)
    with pytest.raises(ValueError, match=words):
        trainable_params(whole_learner(training), training)


def test_values_out_of_range_are_named():
    for make, words in (
        (lambda: Tuning(thaw=("*",)), "tune.thaw has no meaning with tune.mode full"),
        (lambda: Tuning(freeze_layers=-1), "freeze_layers -1 must be 0 or more"),
        (lambda: Lora(rank=0), "lora.rank 0"),
        (lambda: Lora(targets=()), "lora.targets is empty"),
        (lambda: Optimizer(layer_decay=1.2), "layer_decay 1.2"),
        (lambda: Optimizer(head_rate=0.0), "head_rate 0.0"),
        (lambda: Training(ema=0.9, average_from=3), "both say which average"),
        (lambda: Training(steps=3, average_from=4), "average_from 4 must be 1 to 3"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_a_teacher_follows_a_trunk_with_updates():
    """An objective that makes a teacher of the trunk makes it of the trunk with its low-rank updates."""
    training = config(LORA)
    learner = learner_of(training, objectives={"latent": LatentPrediction()})(nnx.Rngs(0))
    teacher = nnx.to_pure_dict(nnx.state(learner.heads["latent"].teacher))["parameters"]
    assert any(".lora." in name for name in teacher)
