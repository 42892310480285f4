"""The plan of a run before its launch: tokens, parameters, FLOPs and bytes, from the real learner traced abstractly."""

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
    """The tokens of each step, if every clip were the largest one.

    Attributes:
      steps: number of batches.
      rows, clips: rows and clips of a batch.
      tokens: real tokens of a batch in the encoder.
      slots: token slots of a batch; each goes through every layer, empty or not.
    """

    steps: int
    rows: int
    clips: int
    tokens: int
    slots: int


@dataclasses.dataclass(frozen=True)
class Run(Load):
    """The load of a run with its FLOPs.

    Attributes:
      flops: training FLOPs of a step, forward and backward, without recomputation by rematerialization.
    """

    flops: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """The requirements of a run.

    Attributes:
      name: name of the experiment.
      whole: tokens of the largest clip in each of `token_counts.TOKEN_BUDGETS`, with nothing masked.
      need: the same after masking and DropToken.
      parameters: parameters by part of the learner.
      trained: number of trained parameters.
      encoder: matrix products of the backbone for that clip with nothing masked, attention counted as dense.
      spanned: FLOPs of `encoder` with attention restricted to its spans.
      forward: matrix products of the losses for that clip as in training, attention counted as dense.
      run: steps, batches and their FLOPs.
      devices: number of devices that share the work.
      memory: bytes on each of them.
      vocabulary: vocabulary size of the text; 0 without text.
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
    """Plan a run without its corpus, as if every clip were as long as its views and had every modality.

    Nothing is computed: programs are traced with abstract values.

    Args:
      experiment: the settings.
      devices: number of devices that share the work as in `experiment.mesh`; the bytes are those of one. None is as few
        as the mesh allows.

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
    """Return `Plan.run` without its FLOPs, which needs no tracing."""
    sketch, packing = sketched(experiment), experiment.input.packing
    clips = packing.rows * sketch.clips
    return Load(
        steps=experiment.training.steps,
        rows=packing.rows,
        clips=clips,
        tokens=clips * sketch.need["tokens"],
        # 8 rows of 150 slots with 2 clips of 73 tokens each: 1,168 tokens in 1,200 slots.
        slots=packing.rows * packing.tokens,
    )


def memory(experiment: Experiment, devices: int | None = None) -> Memory:
    """Return `Plan.memory` alone, in a fraction of the tracing time; arguments and errors are those of `plan`."""
    sketch = sketched(experiment)
    learner = abstract_learner(experiment, sketch.spec, for_memory(experiment.model))
    return _memory(experiment, sketch, learner, mesh_sizes(experiment, devices))


def _memory(experiment: Experiment, sketch: BatchOutline, learner: AbstractModel, sizes: dict[str, int]) -> Memory:
    # Rounded up: of 10 rows over 4 devices, the fullest device has 3.
    """Return the bytes of one device."""
    rows = -(-experiment.input.packing.rows // shard_factor("batch", sizes))
    return step_memory(experiment, learner, abstract_stream(sketch.shape, rows), sizes)


def parameter_layout(experiment: Experiment, devices: int | None = None) -> str:
    """Return the sharding of each parameter on the mesh, one per line; see `cost_model.sharding_table`.

    Args:
      experiment: the settings with their mesh.
      devices: number of devices, as in `plan`.

    Raises:
      ValueError: settings that cannot work.
    """
    learner = abstract_learner(experiment, sketched(experiment).spec, experiment.model)
    return sharding_table(learner.params, learner.axes, mesh_sizes(experiment, devices))


def mesh_sizes(experiment: Experiment, devices: int | None) -> dict[str, int]:
    """Return the devices along each axis of the experiment's mesh; None is as few as it allows."""
    if devices is None:
        # An axis of -1 takes the remaining devices, so it counts as 1: data=-1, fsdp=8 needs at least 8.
        devices = math.prod(size for size in dataclasses.asdict(experiment.mesh).values() if size > 0)
    return dict(zip(AXES, axis_sizes(experiment.mesh, devices), strict=True))


def as_dict(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain values for JSON, with totals."""
    found = dataclasses.asdict(plan)
    found["parameters"]["total"] = sum(plan.parameters.values())
    found["encoder"]["total"], found["forward"]["total"] = plan.encoder.total, plan.forward.total
    found["memory"]["total"] = plan.memory.total
    found["run"]["total_flops"] = plan.run.steps * plan.run.flops
    return found


def _encode(learner: Learner, stream: TokenStream) -> Any:
    """Run the backbone."""
    return learner.trunk(stream)


def _losses(learner: Learner, stream: TokenStream) -> Any:
    """Run the losses."""
    return learner.losses(stream)


def _products(learner: AbstractModel, program: Callable[[Learner, TokenStream], Any], stream: TokenStream) -> Products:
    """Return the matrix products of a program of the learner."""

    def run(variables: dict[str, Any], stream: TokenStream) -> Any:
        return program(learner.merged(variables["params"], variables["rest"]), stream)

    weights = {"params": learner.params, "rest": learner.rest}
    return count_products(run, weights, stream, part=lambda path: part_of(path[1:]), order=PARTS)


def _outside(experiment: Experiment, sketch: BatchOutline, counts: Mapping[str, int], encoder: Products) -> int:
    """Return the FLOPs of the backbone's dense attention between queries and keys outside their span, for one clip.

    Args:
      experiment: the settings.
      sketch: outline of the batches.
      counts: tokens of the clip by modality, all that enter the model.
      encoder: matrix products of the backbone for that clip.
    """
    if not isinstance(experiment.model, Model):
        return 0
    tokens = {name: counts[name] for name in sketch.spec.modalities}
    captions = sketch.spec.text.captions if sketch.spec.text else 1
    needed, video = 0, sketch.spec.video
    if experiment.model.video_encoder is not None and video is not None:
        needed += space_flops(experiment.model, video.grid)
        # A space encoder reduces each time step of the grid to one token before the backbone: 8 x 14 x 14 becomes 8.
        tokens["video"] = video.grid[0]
    needed += attention_flops(experiment.model, tokens, captions)
    return encoder.activations.get("trunk", 0) - needed


def batch_flops(experiment: Experiment, sketch: BatchOutline) -> int:
    """Return the training FLOPs of a step, forward and backward, attention counted as dense, as in `Run.flops`."""
    counted = abstract_learner(experiment, sketch.spec, for_flops(experiment.model))
    return _training_flops(counted, abstract_stream(sketch.shape, experiment.input.packing.rows))


def clip_flops(experiment: Experiment) -> float:
    """Return the model FLOPs of training on the largest clip.

    They count real tokens, and attention within its spans; padding and recomputation count as nothing. Model FLOP
    utilization uses them, as in `tools/bench/step.py`.
    """
    sketch = sketched(experiment)
    counted = abstract_learner(experiment, sketch.spec, for_flops(experiment.model))
    single = abstract_stream(sketch.single, 1)
    dense = _training_flops(counted, single)
    outside = _outside(experiment, sketch, sketch.need, _products(counted, _encode, single))
    # Outside FLOPs are known for the forward pass; the gradient of a product with two inputs costs two such products.
    # The ratio of this clip scales them: forward 100, with gradient 300, outside 10 gives 300 - 10 * 300 / 100 = 270.
    return dense - outside * dense / _products(counted, _losses, single).total


def _training_flops(learner: AbstractModel, batch: TokenStream) -> int:
    """Return the FLOPs of a batch's losses and their gradient."""
    return count_flops(gradient_of(learner), learner.trained, learner.params, learner.rest, batch)
