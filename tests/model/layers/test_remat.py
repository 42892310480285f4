"""The tensors that rematerialized layers save, by name, and where, for every value of `model.remat`."""

import re
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax._src.ad_checkpoint import saved_residuals
from jax._src.cudnn import fused_attention_stablehlo

from mmvideo.cost_model.flops import count_flops
from mmvideo.cost_model.peak_memory import peak_bytes
from mmvideo.model.attention.cudnn import cudnn_attention
from mmvideo.model.attention.splash import splash_attention
from mmvideo.model.config import KEPT, Block, Model, ModelDims, dense_reference, model_dims
from mmvideo.model.layers.remat import Remat
from mmvideo.model.transformer.block import TransformerStack
from mmvideo.model.transformer.run_layers import ComputeConfig, run_layers

ROWS, LENGTH, HEADS, HEAD, INNER, DEPTH = 2, 14, 2, 8, 64, 2
WIDTH = HEADS * HEAD

SHAPES = {
    "query_key_value": (ROWS, LENGTH, 3, HEADS, HEAD),
    "attended": (ROWS, LENGTH, HEADS, HEAD),
    "attention_out": (ROWS, LENGTH, WIDTH),
    "inner": (ROWS, LENGTH, INNER),
    "feed_forward_out": (ROWS, LENGTH, WIDTH),
}
SUMS, INPUT = (ROWS, HEADS, LENGTH), (ROWS, LENGTH, WIDTH)

OFFLOADED = dict(remat="full", remat_keep=("query_key_value",), remat_offload=("inner", "attended"))


def given(block=Block(), depth=DEPTH):
    """Return tokens and the weights of layers."""
    x = jax.random.normal(jax.random.key(0), INPUT)
    return x, TransformerStack(ModelDims(depth, WIDTH, HEADS, INNER), block, rngs=nnx.Rngs(0)).layers()


def loss(**settings):
    """Return a scalar loss of layers; each token attends to earlier ones."""
    ends = np.stack([np.zeros(LENGTH), np.arange(LENGTH) + 1], axis=-1).astype(np.int32)
    spans, computing = jnp.asarray(np.stack([ends] * ROWS)), ComputeConfig.of(Model(chunk=4, **settings))
    return lambda x, layers: jnp.square(run_layers(x, layers, spans, None, computing)).sum()


def gradient(**settings):
    return jax.value_and_grad(loss(**settings), argnums=(0, 1))


def runs(name, program, *arguments):
    """Count an operation in a program."""
    return len(re.findall(rf"= {name}\b", str(jax.make_jaxpr(program)(*arguments))))


@pytest.mark.parametrize("attention", ["xla", "chunked"])
def test_what_is_kept_changes_neither_values_nor_gradients(attention):
    arguments = given()
    want = jax.tree.leaves(jax.jit(gradient(attention=attention))(*arguments))
    assert max(float(jnp.abs(leaf).max()) for leaf in want) > 1
    for settings in (*(dict(remat=step) for step in KEPT), OFFLOADED, OFFLOADED | dict(scan=False)):
        got = jax.jit(gradient(attention=attention, **settings))(*arguments)
        for a, b in zip(jax.tree.leaves(got), want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=str(settings))


@pytest.mark.parametrize("block", [Block(), Block(layer_scale=0.1, activation="swiglu")], ids=["plain", "scaled"])
@pytest.mark.parametrize("settings", [*(dict(remat=step) for step in KEPT), OFFLOADED], ids=str)
def test_a_layer_keeps_what_its_policy_says_and_no_more(settings, block):
    """Return saved activations, recognised by shape: rows and tokens first, or the shape of the softmax sums."""
    saved = saved_residuals(loss(attention="chunked", scan=False, block=block, **settings), *given(block))
    found = Counter(
        (aval.shape, aval.memory_space == jax.memory.Space.Host)
        for aval, source in saved
        if (aval.shape[:2] == (ROWS, LENGTH) or aval.shape == SUMS)
        and jnp.issubdtype(aval.dtype, jnp.floating)
        and not source.startswith("from the argument")
    )
    keep = {*KEPT[settings["remat"]], *settings.get("remat_keep", ())}
    # The input of the second layer, and what the loss reads.
    wanted = Counter({(INPUT, False): DEPTH})
    for name in keep | set(settings.get("remat_offload", ())):
        # Nothing but the next layer reads what the feed-forward adds, unless its factor wants a gradient.
        if name != "feed_forward_out" or block.layer_scale is not None:
            count = 2 if name == "inner" and block.activation == "swiglu" else 1
            wanted[SHAPES[name], name not in keep] += count * DEPTH
        if name == "attended":
            wanted[SUMS, name not in keep] += DEPTH
    assert found == wanted


def test_each_step_repeats_the_products_that_it_says():
    tokens, widths = ROWS * LENGTH * DEPTH, WIDTH**2
    scores = 2 * ROWS * DEPTH * LENGTH**2 * WIDTH
    repeated = {
        "products": scores,
        "dots": 2 * scores,
        "attention": scores + 2 * tokens * 4 * widths,
        # All but the last product, whose result only the next layer reads.
        "full": 2 * scores + 2 * tokens * (3 + 1 + 4) * widths,
    }
    once = count_flops(gradient(attention="xla"), *given())
    for step, flops in repeated.items():
        assert count_flops(gradient(attention="xla", remat=step), *given()) - once == flops, step


def test_the_planner_counts_what_is_kept_on_the_device():
    """A model so deep that saved tensors outweigh the working memory of a layer."""
    depth = 200
    arguments = given(depth=depth)
    each = {name: depth * 4 * int(np.prod(shape)) for name, shape in SHAPES.items()}
    each["attended"] += depth * 4 * int(np.prod(SUMS))

    def held(**settings):
        return peak_bytes(gradient(attention="chunked", **settings), *arguments)

    full = held(remat="full")
    for name in ("query_key_value", "attended", "attention_out", "inner"):
        assert held(remat="full", remat_keep=(name,)) - full == pytest.approx(each[name], rel=0.1), name
    # What comes back from the host is there for one layer at a time.
    assert held(remat="full", remat_offload=("inner",)) - full < each["inner"] / 10
    assert held(remat="none") > held(remat="products") > held(remat="dots") > held(remat="attention") > full


@pytest.mark.parametrize(("kept", "forward"), [((), 2), (("attended",), 1)])
def test_kept_attention_runs_once(kept, forward, monkeypatch):
    """Count in the program of a gradient, for each kernel; the chunked backend's gradient adds a scan."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    policy = Remat(frozenset(kept))

    def run(attention):
        layer = jax.checkpoint(lambda q, k, v: jnp.sin(attention(jnp.sin(q), k, v)), policy=policy)
        return jax.grad(lambda *qkv: layer(*qkv).astype(jnp.float32).sum(), argnums=(0, 1, 2))

    qkv = [jax.ShapeDtypeStruct((2, 128, 2, 64), jnp.bfloat16)] * 3
    spans = jnp.broadcast_to(jnp.asarray([0, 128]), (2, 128, 2))
    for whole in (True, False):
        cudnn = partial(cudnn_attention, spans=spans, whole=whole)
        assert runs("dot_product_attention_fwd_wrapper", run(cudnn), *qkv) == forward
    # Splash attention leaves a call without results behind, which XLA drops; so what it keeps is looked at.
    splash = jax.checkpoint(partial(splash_attention, spans=spans, interpret=True), policy=policy)
    saved = [aval.shape for aval, _ in saved_residuals(lambda *qkv: jnp.square(splash(*qkv)).sum(), *qkv)]
    assert saved.count((2, 2, 128)) == len(kept) and saved.count((2, 2, 128, 64)) == len(kept)
    chunked = gradient(attention="chunked", scan=False, remat="full", remat_keep=kept)
    assert runs("scan", chunked, *given(depth=1)) == forward + 1


@pytest.mark.parametrize(("kept", "forward"), [((), 2), (("attended",), 1)])
def test_a_kernel_that_names_nothing_runs_once(kept, forward):
    """An operator defined like tokamax's: JAX has results and residuals in one operation."""

    @jax.custom_vjp
    def kernel(x):
        return jnp.tanh(x)

    def back(known, gradient):
        x, result = known
        return (gradient * (1 - result**2) + 0 * x,)

    kernel.defvjp(lambda x: (result := jnp.tanh(x), (x, result)), back, optimize_remat=True)
    layer = jax.checkpoint(lambda x: jnp.sin(kernel(jnp.cos(x))), policy=Remat(frozenset(kept)))
    assert runs("tanh", jax.grad(lambda x: layer(x).sum()), jnp.ones(3)) == forward


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_what_is_offloaded_goes_to_the_host_and_comes_back(platform):
    """Three saved arrays of a layer: `inner`, the output of attention, and its softmax sums."""
    program = jax.jit(gradient(attention="chunked", **OFFLOADED)).trace(*given())
    places = re.findall(r'_xla_buffer_placement = "(\w+)"', program.lower(lowering_platforms=(platform,)).as_text())
    assert Counter(places) == {"pinned_host": 3, "device": 3}


def test_devices_without_the_hosts_memory_are_refused(monkeypatch):
    monkeypatch.setattr("mmvideo.model.layers.remat.HOST", "remote_host")
    with pytest.raises(ValueError, match=r"model.remat_offload needs .* \(remote_host\); cpu has device, pinned_host"):
        Remat.of(Model(**OFFLOADED))
    assert Remat.of(Model(remat="full")) == Remat()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(remat="half"), "model.remat 'half' is unknown: choose one of none, products, dots, attention, full"),
        (dict(remat="full", remat_keep=("iner",)), "model.remat_keep has 'iner', which .* query_key_value, attended"),
        (dict(remat="full", remat_offload=("x",)), "model.remat_offload has 'x'"),
        (dict(remat_keep=("inner",)), "model.remat_keep names tensors, but model.remat none saves everything"),
        (dict(remat_offload=("inner",)), "model.remat_offload names .*: set it to full"),
        (dict(remat="full", remat_keep=("inner",), remat_offload=("inner",)), "both have 'inner'"),
    ],
)
def test_what_can_not_be_kept_is_refused(settings, message):
    model = Model()
    for name, value in settings.items():
        object.__setattr__(model, name, value)  # A recipe's types are checked in tests only.
    with pytest.raises(ValueError, match=message):
        model_dims(model)
    assert model_dims(dense_reference(Model(**OFFLOADED)))
