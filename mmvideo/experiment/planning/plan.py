"""The plan of a run before its launch: tokens, parameters, FLOPs and bytes, from the real learner, abstractly."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from mmvideo.cost_model.attention_flops import attention_flops, space_flops
from mmvideo.cost_model.flops import Products, count_flops, count_products
from mmvideo.cost_model.memory import Memory, shard_factor
from mmvideo.cost_model.parameter_counts import PARTS, count_parameters, part_of
from mmvideo.cost_model.sharding_table import sharding_table
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import BatchOutline, abstract_stream
from mmvideo.experiment.planning.abstract_model import (
    AbstractModel,
    abstract_learner,
    for_flops,
    for_memory,
    gradient_of,
    sketched,
)
from mmvideo.experiment.planning.step_memory import step_memory
from mmvideo.model.config import Model
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.mesh import AXES, axis_sizes
from mmvideo.stream import TokenStream


@dataclasses.dataclass(frozen=True)
class Load:
    """What goes through the steps of a run, if every clip were the largest one.

    Attributes:
      steps: batches.
      rows, clips: in a batch.
      tokens: that the encoder sees in a batch.
      slots: for tokens in a batch; each goes through every layer, empty or not.
    """

    steps: int
    rows: int
    clips: int
    tokens: int
    slots: int


@dataclasses.dataclass(frozen=True)
class Run(Load):
    """The whole of a run.

    Attributes:
      flops: of training for a step, forward and backward, without what rematerialisation does twice.
    """

    flops: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run needs.

    Attributes:
      name: of the experiment.
      whole: tokens of the largest clip in each of `token_counts.TOKEN_BUDGETS`, with nothing hidden.
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
    learner = abstract_learner(experiment, sketch.spec, for_memory(experiment.model))
    counted = abstract_learner(experiment, sketch.spec, for_flops(experiment.model))
    rows = experiment.input.packing.rows
    batch = abstract_stream(sketch.shape, rows)
    sizes = mesh_sizes(experiment, devices)
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
        run=Run(**dataclasses.asdict(load(experiment)), flops=_training_flops(counted, batch)),
        devices=math.prod(sizes.values()),
        memory=_memory(experiment, sketch, learner, sizes),
        vocabulary=sketch.spec.text.vocabulary if sketch.spec.text else 0,
    )


def load(experiment: Experiment) -> Load:
    """What goes through the steps, for which nothing is traced: `Plan.run` without its FLOPs."""
    sketch, packing = sketched(experiment), experiment.input.packing
    clips = packing.rows * sketch.clips
    return Load(
        steps=experiment.training.steps,
        rows=packing.rows,
        clips=clips,
        tokens=clips * sketch.need["tokens"],
        slots=packing.rows * packing.tokens,
    )


def memory(experiment: Experiment, devices: int | None = None) -> Memory:
    """`Plan.memory` alone, for a fraction of the tracing; arguments and errors as of `plan`."""
    sketch = sketched(experiment)
    learner = abstract_learner(experiment, sketch.spec, for_memory(experiment.model))
    return _memory(experiment, sketch, learner, mesh_sizes(experiment, devices))


def _memory(experiment: Experiment, sketch: BatchOutline, learner: AbstractModel, sizes: dict[str, int]) -> Memory:
    rows = -(-experiment.input.packing.rows // shard_factor("batch", sizes))
    return step_memory(experiment, learner, abstract_stream(sketch.shape, rows), sizes)


def parameter_layout(experiment: Experiment, devices: int | None = None) -> str:
    """How each parameter of the learner lies on the mesh, a line each; see `planning.layout`.

    Args:
      experiment: the settings, whose mesh is taken.
      devices: as in `plan`.

    Raises:
      ValueError: settings that cannot work.
    """
    learner = abstract_learner(experiment, sketched(experiment).spec, experiment.model)
    return sharding_table(learner.params, learner.axes, mesh_sizes(experiment, devices))


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


def _encode(learner: Learner, stream: TokenStream) -> Any:
    return learner.trunk(stream)


def _losses(learner: Learner, stream: TokenStream) -> Any:
    return learner.losses(stream)


def _products(learner: AbstractModel, program: Callable[[Learner, TokenStream], Any], stream: TokenStream) -> Products:
    """What a program of the learner multiplies."""

    def run(variables: dict[str, Any], stream: TokenStream) -> Any:
        return program(learner.merged(variables["params"], variables["rest"]), stream)

    weights = {"params": learner.params, "rest": learner.rest}
    return count_products(run, weights, stream, part=lambda path: part_of(path[1:]), order=PARTS)


def _outside(experiment: Experiment, sketch: BatchOutline, counts: Mapping[str, int], encoder: Products) -> int:
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


def batch_flops(experiment: Experiment, sketch: BatchOutline) -> int:
    """FLOPs of training for a step, forward and backward, attention dense: those of `Run.flops`."""
    counted = abstract_learner(experiment, sketch.spec, for_flops(experiment.model))
    return _training_flops(counted, abstract_stream(sketch.shape, experiment.input.packing.rows))


def clip_flops(experiment: Experiment) -> float:
    """Model FLOPs of training on the largest clip: its own tokens, within the spans of attention, nothing twice.

    That is what model FLOP utilisation counts, as `tools/bench/step.py` does: padding and what remat computes again
    count as nothing.
    """
    sketch = sketched(experiment)
    counted = abstract_learner(experiment, sketch.spec, for_flops(experiment.model))
    single = abstract_stream(sketch.single, 1)
    dense = _training_flops(counted, single)
    outside = _outside(experiment, sketch, sketch.need, _products(counted, _encode, single))
    # The gradient of a product is two of its size where both of its factors have one.
    return dense - outside * dense / _products(counted, _losses, single).total


def _training_flops(learner: AbstractModel, batch: TokenStream) -> int:
    """FLOPs of the losses of a batch and of their gradient."""
    return count_flops(gradient_of(learner), learner.trained, learner.params, learner.rest, batch)
