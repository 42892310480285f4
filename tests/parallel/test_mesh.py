"""Meshes and rules, and that every mesh gives the loss and gradients of one device."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from mmvideo.model.config import Block, Fusion, Sharing
from mmvideo.model.pool import pool
from mmvideo.model.sharding import HEAD_AXIS, ROW_AXES, TOKEN_AXIS, by_rows, by_tokens
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import AXES, axis_sizes, make_mesh
from mmvideo.parallel.rules import ACTIVATIONS, PARAMETERS, batch_sharding, constrain, follow, partition, shardings


def test_one_axis_takes_what_is_left():
    assert axis_sizes(Mesh(), 8) == (8, 1, 1, 1)
    assert axis_sizes(Mesh(2, -1, tensor=2), 8) == (2, 2, 1, 2)
    assert axis_sizes(Mesh(2, 2, context=1), 4) == (2, 2, 1, 1)
    mesh = make_mesh(Mesh(data=2, tensor=2, context=-1))
    assert tuple(mesh.axis_names) == AXES
    assert dict(mesh.shape) == {"data": 2, "fsdp": 1, "tensor": 2, "context": 2}
    assert all(kind == AxisType.Auto for kind in mesh.axis_types)


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (Mesh(3, 1, 1), "the product is 3, but there are 8 devices"),
        (Mesh(-1, 3, 1), "3 does not divide the 8 devices"),
        (Mesh(-1, -1, 1), "at most one may be -1"),
        (Mesh(0, 1, 1), "each axis must be 1 or more"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(mesh, message):
    with pytest.raises(ValueError, match=message):
        make_mesh(mesh)


@dataclasses.dataclass(frozen=True)
class Chip:
    """A stand-in for the coordinates of a TPU, which no other platform has."""

    id: int
    coords: tuple[int, int, int]
    core_on_chip: int = 0
    process_index: int = 0
    platform: str = "tpu"
    device_kind: str = "TPU v5"


@pytest.mark.parametrize("sizes", [(8, 8), (16, 4), (2, 32), (64, 1)])
def test_a_side_of_a_slice_may_serve_two_axes(sizes):
    """Meshes on a cube of 4 x 4 x 4 chips, of which jax.make_mesh refuses those of 8 and of 2 by 32."""
    chips = [Chip(number, (number % 4, number // 4 % 4, number // 16)) for number in range(64)]
    mesh = make_mesh(Mesh(data=sizes[0], fsdp=sizes[1]), chips)
    assert mesh.devices.shape == (*sizes, 1, 1) and set(mesh.devices.flat) == set(chips)
    assert all(kind == AxisType.Auto for kind in mesh.axis_types)


def test_an_axis_is_split_once_and_only_evenly():
    mesh = make_mesh(Mesh(2, 2, 2))
    assert partition(("layers", "embed", "mlp"), (3, 32, 64), mesh, PARAMETERS) == PartitionSpec(None, "fsdp", "tensor")
    assert partition(("embed", "mlp"), (31, 64), mesh, PARAMETERS) == PartitionSpec(None, "tensor")
    assert partition(("heads", "mlp"), (4, 64), mesh, PARAMETERS) == PartitionSpec("tensor", None)
    rows = partition(("batch", "length", None), (8, 40, 3), mesh, ACTIVATIONS)
    assert rows == PartitionSpec(("data", "fsdp"), None, None)
    long = make_mesh(Mesh(2, context=4))
    assert partition(("batch", "length"), (8, 40), long, ACTIVATIONS) == PartitionSpec(("data", "fsdp"), "context")
    assert partition(("batch", "length"), (8, 42), long, ACTIVATIONS) == PartitionSpec(("data", "fsdp"), None)
    with pytest.raises(ValueError, match="needs 1 logical axes"):
        partition(("embed", "mlp"), (3,), mesh, PARAMETERS)


def test_parameters_and_what_the_optimiser_keeps_for_them_are_split_alike(build):
    mesh = make_mesh(Mesh(2, 2, 2))
    state = nnx.state(nnx.eval_shape(build))
    places = nnx.to_pure_dict(shardings(state, mesh))
    assert places["blocks"]["qkv_kernel"].spec == PartitionSpec(None, "fsdp", None, "tensor", None)
    assert places["blocks"]["down_kernel"].spec == PartitionSpec(None, "tensor", "fsdp")
    assert places["embed"]["text"]["table"].spec == PartitionSpec("tensor", "fsdp")
    assert places["blocks"]["attention_scale"].is_fully_replicated
    parameters = nnx.to_pure_dict(state)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
    kept = follow(jax.eval_shape(optimiser.init, parameters), parameters, places, mesh)
    adam = kept[1][0]
    assert jax.tree.leaves(adam.mu) == jax.tree.leaves(places) == jax.tree.leaves(adam.nu)
    assert adam.count.is_fully_replicated
    factored = optax.adafactor(1e-3, min_dim_size_to_factor=16)
    leaves = jax.tree.leaves(follow(jax.eval_shape(factored.init, parameters), parameters, places, mesh))
    assert all(isinstance(leaf, NamedSharding) for leaf in leaves)


def test_constrain_splits_within_a_mesh_and_is_nothing_without():
    x = jnp.zeros((8, 4))
    assert constrain(x, "batch", "embed") is x
    mesh = make_mesh(Mesh(2, 2, 2))
    with jax.set_mesh(mesh):
        split = jax.jit(lambda x: constrain(x, "batch", "embed"))(x)
    assert split.sharding.is_equivalent_to(batch_sharding(mesh), 2)


def test_the_model_splits_rows_and_tokens_as_the_rules_do():
    assert (ROW_AXES, TOKEN_AXIS, HEAD_AXIS) == tuple(ACTIVATIONS[name] for name in ("batch", "length", "heads"))
    mesh = make_mesh(Mesh(2, 1, 2, 2))
    with jax.set_mesh(mesh):
        heads = jax.jit(by_tokens)(jnp.zeros((8, 4, 2, 3)))
    assert heads.sharding.is_equivalent_to(NamedSharding(mesh, PartitionSpec("data", "context", "tensor")), 4)
    mesh = make_mesh(Mesh(2, 2, 2))
    with jax.set_mesh(mesh):
        split = jax.jit(by_rows)(jnp.zeros((8, 4, 2)))
        odd = jax.jit(by_rows)(jnp.zeros((3, 4)))
    assert split.sharding.is_equivalent_to(batch_sharding(mesh), 3)
    assert odd.shape == (3, 4)
    assert jax.jit(by_rows)(jnp.zeros(8)).sharding.is_fully_replicated


def loss(model, stream):
    """Return a loss in which every row depends on every other: pooled features of all clips against each other."""
    features = model(stream)
    total = jnp.square(jnp.where(stream.layout.is_token[..., None], features.top, 0)[..., :5]).mean()
    pooled, present = pool(features.tokens(("video",)), stream.layout, ("video",), 4)
    pooled = (pooled * present[..., None]).reshape(-1, pooled.shape[-1])
    return total + jnp.square(pooled @ pooled.T / pooled.shape[-1]).mean()


MODELS = {
    "shared": {},
    "bottleneck": dict(
        fusion=Fusion("bottleneck", 1, bottlenecks=2), sharing=Sharing("nothing", "nothing"), class_tokens=1
    ),
    "experts": dict(
        sharing=Sharing("norms", "feed_forward"),
        block=Block(activation="swiglu", qk_norm=True),
        attention="chunked",
        chunk=16,
        remat="dots",
    ),
}


@pytest.fixture(scope="module")
def single(build, stream):
    """Return loss and gradients of each model on one device."""

    @functools.cache
    def measure(name):
        graph, state = nnx.split(build(**MODELS[name]))
        step = jax.jit(jax.value_and_grad(lambda state, stream: loss(nnx.merge(graph, state), stream)))
        program = step.lower(state, stream).compile()
        return *jax.device_get(program(state, stream)), program.cost_analysis()["flops"]

    return measure


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("shared", Mesh(2, 2, 2)),
        ("shared", Mesh(1, 2, 2, 2)),
        # The other meshes of this test split by every pair of axes that these do; fsdp alone is a part of them.
        pytest.param("shared", Mesh(1, 8, 1), marks=pytest.mark.nightly),
        pytest.param("shared", Mesh(2, 1, 2, 2), marks=pytest.mark.nightly),
        ("bottleneck", Mesh(1, 1, 1, 8)),
        ("experts", Mesh(2, 2, 1, 2)),
    ],
)
def test_every_mesh_gives_the_loss_and_gradients_of_one_device(build, stream, single, name, sizes):
    mesh = make_mesh(sizes)
    graph, state = nnx.split(build(**MODELS[name]))
    places, rows = shardings(state, mesh), batch_sharding(mesh)

    def run(state, stream):
        return jax.value_and_grad(lambda state: loss(nnx.merge(graph, state), stream))(state)

    step = jax.jit(run, in_shardings=(places, rows), out_shardings=(NamedSharding(mesh, PartitionSpec()), places))
    with jax.set_mesh(mesh):
        program = step.lower(state, stream).compile()
        value, gradient = program(jax.device_put(state, places), jax.device_put(stream, rows))
    want, want_gradient, work = single(name)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert float(want) > 0.1
    for split, whole in zip(jax.tree.leaves(gradient), jax.tree.leaves(want_gradient), strict=True):
        np.testing.assert_allclose(split, whole, atol=1e-5, rtol=1e-5)
    kernels = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(nnx.to_pure_dict(gradient))
        if "up_kernel" in str(path)
    ]
    assert kernels
    for kernel in kernels:
        assert kernel.addressable_shards[0].data.size * sizes.fsdp * sizes.tensor == kernel.size
    # A device does its share, and what is small in a model of any size besides: pooled vectors, the weave of tokens,
    # norms behind stages whose length doesn't divide. An axis that splits nothing would double the work, or more.
    assert program.cost_analysis()["flops"] < 1.75 * work / 8
