"""The plan of a run before its launch: tokens, parameters, FLOPs and bytes, from the real learner, abstractly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import nnx
from flax.traverse_util import unflatten_dict

from mmvideo.experiment.config import Experiment
from mmvideo.experiment.making import make_learner
from mmvideo.experiment.outline import Outline, abstract_stream, outline
from mmvideo.model.config import Model, plain
from mmvideo.model.kinds import AnyModel
from mmvideo.objectives import Moments, Regression
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.mesh import AXES, axis_sizes
from mmvideo.planning.layout import layout
from mmvideo.planning.memory import Memory, cut, share_bytes, tree_bytes, ways
from mmvideo.planning.parts import PARTS, count_parameters, part_of
from mmvideo.planning.peak import peak_bytes
from mmvideo.planning.products import Products, count_flops, count_products
from mmvideo.planning.spans import attention_flops, space_flops
from mmvideo.stream import StreamSpec, TokenStream
from mmvideo.training.optimizer import make_optimizer
from mmvideo.training.portion import Portion, portion_of

BLOCK = 128
"""Keys that a fused kernel of attention holds at once."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The whole of a run, if every clip were the largest one.

    Attributes:
      steps: batches.
      rows, clips: in a batch.
      tokens: that the encoder sees in a batch.
      slots: for tokens in a batch; each goes through every layer, empty or not.
      flops: of training for a step, forward and backward, without what rematerialisation does twice.
    """

    steps: int
    rows: int
    clips: int
    tokens: int
    slots: int
    flops: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes:
      name: of the experiment.
      whole: tokens of the largest clip in each of `sizes.BUDGETS`, with nothing hidden.
      need: the same with what masking and DropToken take out.
      parameters: by part of the learner.
      trained: how many of them are trained.
      encoder: products of the trunk for that clip with nothing hidden, attention dense.
      spanned: FLOPs of `encoder` where attention keeps to its spans.
      forward: products of the losses for that clip as it is in training, attention dense.
      run: steps, batches and their FLOPs.
      devices: that the bytes are shared by.
      memory: bytes on each of them.
      vocabulary: pieces of text that were reckoned with; 0 without text.
    """

    name: str
    whole: dict[str, int]
    need: dict[str, int]
    parameters: dict[str, int]
    trained: int
    encoder: Products
    spanned: int
    forward: Products
    run: Run
    devices: int
    memory: Memory
    vocabulary: int


@dataclasses.dataclass(frozen=True)
class Abstract:
    """A learner without a number in it.

    Attributes:
      spec: of its streams.
      graphdef: its structure.
      params, rest: parameters and other variables, nested dicts of shapes.
      axes: names of the logical axes of each parameter, nested as the parameters.
      portion: which parameters are trained.
    """

    spec: StreamSpec
    graphdef: Any
    params: Any
    rest: Any
    axes: Any
    portion: Portion

    def merged(self, params: Any, rest: Any) -> Learner:
        """The learner with these arrays."""
        return nnx.merge(self.graphdef, params, rest)

    @property
    def trained(self) -> Any:
        """Shapes of the trained parameters."""
        return jax.eval_shape(self.portion.take, self.params)


def plan(experiment: Experiment, devices: int | None = None) -> Plan:
    """Plans a run without its corpus, as if every clip were as long as its views and had every modality.

    Nothing is computed: programs are traced with abstract values.

    Args:
      experiment: the settings.
      devices: how many share the work as `experiment.mesh` says; the bytes are those of one. None is as
        few as the mesh allows.

    Raises:
      ValueError: settings that cannot work.
    """
    sketch = sketched(experiment)
    learner = abstract_learner(experiment, sketch.spec, rehearsed(experiment.model))
    counted = abstract_learner(experiment, sketch.spec, counting(experiment.model))
    rows = experiment.input.packing.rows
    batch = abstract_stream(sketch.shape, rows)
    sizes = mesh_sizes(experiment, devices)
    own = abstract_stream(sketch.shape, -(-rows // cut("batch", sizes)))
    encoder = _products(counted, _encode, abstract_stream(sketch.unmasked, 1))
    return Plan(
        name=experiment.name,
        whole=sketch.whole,
        need=sketch.need,
        parameters=count_parameters(learner.params),
        trained=learner.portion.size,
        encoder=encoder,
        spanned=encoder.total - _outside(experiment, sketch, sketch.whole, encoder),
        forward=_products(counted, _losses, abstract_stream(sketch.single, 1)),
        run=_run(experiment, sketch, rows, _training_flops(counted, batch)),
        devices=math.prod(sizes.values()),
        memory=step_memory(experiment, learner, own, sizes),
        vocabulary=sketch.spec.text.vocabulary if sketch.spec.text else 0,
    )


def parameter_layout(experiment: Experiment, devices: int | None = None) -> str:
    """How each parameter of the learner lies on the mesh, a line each; see `planning.layout`.

    Args:
      experiment: the settings, whose mesh is taken.
      devices: as in `plan`.

    Raises:
      ValueError: settings that cannot work.
    """
    learner = abstract_learner(experiment, sketched(experiment).spec, experiment.model)
    return layout(learner.params, learner.axes, mesh_sizes(experiment, devices))


def mesh_sizes(experiment: Experiment, devices: int | None) -> dict[str, int]:
    """Devices along each axis of the experiment's mesh; None is as few as it allows."""
    if devices is None:
        devices = math.prod(size for size in dataclasses.asdict(experiment.mesh).values() if size > 0)
    return dict(zip(AXES, axis_sizes(experiment.mesh, devices), strict=True))


def as_dict(plan: Plan) -> dict[str, Any]:
    """The plan as plain values for JSON, with the totals."""
    found = dataclasses.asdict(plan)
    found["parameters"]["total"] = sum(plan.parameters.values())
    found["encoder"]["total"], found["forward"]["total"] = plan.encoder.total, plan.forward.total
    found["memory"]["total"] = plan.memory.total
    found["run"]["total_flops"] = plan.run.steps * plan.run.flops
    return found


def sketched(experiment: Experiment) -> Outline:
    """The streams of an experiment, with all that its objectives ask of a clip; raises as `outline` does."""
    moments = any(isinstance(objective, Moments) for objective in experiment.objectives.values())
    return outline(experiment.input, labels(experiment), numbers(experiment), moments)


def labels(experiment: Experiment) -> tuple[str, ...]:
    """Kinds of classes that the objectives ask for."""
    found = _labelled(experiment, lambda objective: not isinstance(objective, Regression))
    return tuple(dict.fromkeys(found))


def numbers(experiment: Experiment) -> tuple[str, ...]:
    """Kinds of numbers that the objectives ask for."""
    return tuple(dict.fromkeys(_labelled(experiment, lambda objective: isinstance(objective, Regression))))


def _labelled(experiment: Experiment, fits: Callable[[Any], bool]) -> list[str]:
    named = (objective for objective in experiment.objectives.values() if fits(objective))
    return [objective.label for objective in named if getattr(objective, "label", None) is not None]


def counting(model: AnyModel) -> AnyModel:
    """The model as its products are counted: dense attention, nothing computed twice."""
    return plain(model) if isinstance(model, Model) else model


def rehearsed(model: AnyModel) -> AnyModel:
    """The model as its bytes are told: attention in small blocks of keys, as fused kernels have it.

    With blocks as large as those of the chunked backend, which are made for CPUs, their scores would be counted, which
    a kernel never writes to memory.
    """
    if not isinstance(model, Model) or model.attention in ("xla", "chunked"):
        return model
    return dataclasses.replace(model, attention="auto", chunk=BLOCK)


def abstract_learner(experiment: Experiment, spec: StreamSpec, model: AnyModel) -> Abstract:
    """The learner of an experiment, with `model` in place of the experiment's own.

    Raises:
      ValueError: settings of model and objectives that don't fit each other.
    """

    def build() -> Learner:
        return make_learner(experiment, spec, nnx.Rngs(experiment.training.seed), model)

    learner = nnx.eval_shape(build)
    graphdef, params, rest = nnx.split(learner, nnx.Param, ...)
    axes = unflatten_dict({path: leaf.get_metadata().get("axes") for path, leaf in nnx.to_flat_state(params)})
    portion = portion_of(learner, experiment.training)
    return Abstract(spec, graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(rest), axes, portion)


def _encode(learner: Learner, stream: TokenStream) -> Any:
    return learner.trunk(stream)


def _losses(learner: Learner, stream: TokenStream) -> Any:
    return learner.losses(stream)


def _products(learner: Abstract, program: Callable[[Learner, TokenStream], Any], stream: TokenStream) -> Products:
    """What a program of the learner multiplies."""

    def run(variables: dict[str, Any], stream: TokenStream) -> Any:
        return program(learner.merged(variables["params"], variables["rest"]), stream)

    weights = {"params": learner.params, "rest": learner.rest}
    return count_products(run, weights, stream, part=lambda path: part_of(path[1:]), order=PARTS)


def _outside(experiment: Experiment, sketch: Outline, counts: Mapping[str, int], encoder: Products) -> int:
    """FLOPs of the trunk's dense attention for a clip in which a query meets a key outside its span.

    Args:
      counts: tokens of the clip by modality, all of those that enter the model.
      encoder: products of the trunk for that clip.
    """
    if not isinstance(experiment.model, Model):
        return 0
    tokens = {name: counts[name] for name in sketch.spec.modalities}
    captions = sketch.spec.text.captions if sketch.spec.text else 1
    needed, video = 0, sketch.spec.video
    if experiment.model.video_encoder is not None and video is not None:
        needed += space_flops(experiment.model, video.grid)
        tokens["video"] = video.grid[0]
    needed += attention_flops(experiment.model, tokens, captions)
    return encoder.activations.get("trunk", 0) - needed


def batch_flops(experiment: Experiment, sketch: Outline) -> int:
    """FLOPs of training for a step, forward and backward, attention dense: those of `Run.flops`."""
    counted = abstract_learner(experiment, sketch.spec, counting(experiment.model))
    return _training_flops(counted, abstract_stream(sketch.shape, experiment.input.packing.rows))


def clip_flops(experiment: Experiment) -> float:
    """Model FLOPs of training on the largest clip: its own tokens, within the spans of attention, nothing twice.

    That is what model FLOP utilisation counts, as `tools/bench/step.py` does: padding and what remat computes again
    count as nothing.
    """
    sketch = sketched(experiment)
    counted = abstract_learner(experiment, sketch.spec, counting(experiment.model))
    single = abstract_stream(sketch.single, 1)
    dense = _training_flops(counted, single)
    outside = _outside(experiment, sketch, sketch.need, _products(counted, _encode, single))
    # The gradient of a product is two of its size where both of its factors have one.
    return dense - outside * dense / _products(counted, _losses, single).total


def _gradient(learner: Abstract) -> Callable[[Any, Any, Any, TokenStream], Any]:
    """The gradient of the loss, as a function of the trained parameters, of all, of other variables, and of a batch.

    Beside it stand the loss and the other variables as they are behind it, such as a teacher that has moved: a step
    keeps the old ones until it knows whether the loss is finite.
    """

    def loss(trained: Any, params: Any, rest: Any, stream: TokenStream) -> Any:
        whole = learner.merged(learner.portion.put(params, trained), rest)
        total, _ = whole.losses(stream)
        return total, nnx.to_pure_dict(nnx.state(whole, nnx.Not(nnx.Param)))

    return jax.value_and_grad(loss, has_aux=True)


def _training_flops(learner: Abstract, batch: TokenStream) -> int:
    """FLOPs of the losses of a batch and of their gradient."""
    return count_flops(_gradient(learner), learner.trained, learner.params, learner.rest, batch)


def _run(experiment: Experiment, sketch: Outline, rows: int, flops: int) -> Run:
    clips = rows * sketch.clips
    return Run(
        steps=experiment.training.steps,
        rows=rows,
        clips=clips,
        tokens=clips * sketch.need["tokens"],
        slots=rows * experiment.input.packing.tokens,
        flops=flops,
    )


def step_memory(
    experiment: Experiment,
    learner: Abstract,
    batch: TokenStream,
    sizes: Mapping[str, int],
    update: int | None = None,
) -> Memory:
    """Bytes on one device: parameters are cut as the mesh says.

    The rows are traced as a device's own, and their tokens as cut evenly over the mesh axes that `length` is cut by.
    Activations are taken as whole along `tensor`, which makes them an upper bound there.

    Args:
      experiment: the settings.
      learner: with the model of `rehearsed`.
      batch: the rows of one device.
      sizes: devices along each axis of the mesh.
      update: what `update_bytes` gives, where it is known.
    """
    training, portion, trained = experiment.training, learner.portion, learner.trained
    state = jax.eval_shape(_optimizer(experiment, learner).init, trained)
    held = share_bytes(learner.params, _leaves(learner.axes), sizes)
    axes = _leaves(portion.pick(learner.axes))
    whole, moved = tree_bytes(trained), share_bytes(trained, axes, sizes)
    # Loss and other variables are whole on every device.
    shares = [1.0] * (1 + len(jax.tree.leaves(learner.rest))) + [1 / parts for parts in ways(trained, axes, sizes)]
    gradient = _gradient(learner)
    backward = peak_bytes(gradient, learner.trained, learner.params, learner.rest, batch, shares=shares) - moved
    update = update_bytes(experiment, learner) if update is None else update
    return Memory(
        parameters=held + tree_bytes(learner.rest),
        gradients=moved,
        # The optimiser's moments lie where their parameters lie.
        optimizer=round(tree_bytes(state) * moved / whole),
        average=held if training.averages else 0,
        batch=tree_bytes(batch),
        activations=max(backward // cut("length", sizes), round(update * moved / whole), 0),
    )


def update_bytes(experiment: Experiment, learner: Abstract) -> int:
    """Bytes that the optimiser works with beside what it holds, on a device that holds all of it; rows change nothing.

    New moments and parameters are written in the place of the old ones; what Muon multiplies on the way is not.
    """
    optimizer, trained = _optimizer(experiment, learner), learner.trained
    state = jax.eval_shape(optimizer.init, trained)
    return peak_bytes(optimizer.update, trained, state, trained, shares=[0.0] * 2 * len(jax.tree.leaves(state)))


def _optimizer(experiment: Experiment, learner: Abstract) -> optax.GradientTransformation:
    return make_optimizer(experiment.training.optimizer, experiment.training.steps, learner.portion.rates)


def _leaves(axes: Any) -> list[tuple[str | None, ...] | None]:
    """The names of the axes of each parameter, in the order of the leaves."""
    return jax.tree.leaves(axes, is_leaf=lambda node: node is None or isinstance(node, tuple))
