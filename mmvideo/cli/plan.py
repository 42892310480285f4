"""`mmvideo plan CONFIG [--device NAME] [--devices N] [--json] [--field.path VALUE …]`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from typing import TYPE_CHECKING

from mmvideo.cli.terminal.tables import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from mmvideo.cost_model.devices import Device
    from mmvideo.experiment.config import Experiment
    from mmvideo.experiment.planning.device_plan import DevicePlan
    from mmvideo.experiment.planning.plan import Plan
    from mmvideo.experiment.planning.xla_compile import Compiled
    from mmvideo.parallel.config import Mesh

ABOUT = """usage: mmvideo plan CONFIG [--device NAME] [--devices N] [--mesh AXES] [--mfu X] [--compile | --rehearse]
                    [--profile] [--layout] [--json] [--field.path VALUE …]

Plan what a run needs before its launch, without its corpus (except for a recipe that chooses from it), as if
every clip were as long as its views and had every modality: tokens, parameters and FLOPs by part of the model,
bytes, and totals of the run. CONFIG and fields are those of `mmvideo train`. No accelerator is needed.

  --devices N   bytes on each of N devices, divided by the config's mesh (default: as few as it allows)
  --device NAME kind of device: h100, h200, a100, b200, v4, v5e, v5p, v6e, or a TPU slice such as v5p-128. Prints
                the rows that fit, the time of a step, and the host cores that supply it; a mesh of the config that
                does not fit N devices is reduced. Bytes are those of XLA's own compiler where it is installed, in 5
                to 60 seconds: pip install "jax[cuda13]" for GPUs, "jax[tpu]" for TPUs. Else they are rehearsed
                (traced), within a few per cent on one device, and up to a fifth too low on many
  --mesh AXES   the mesh, such as data=8,fsdp=8; axes that are not named are 1
  --mfu X       model FLOP utilisation for the time of a step, instead of the measured or assumed value
  --compile     always ask a compiler: that for CPU devices where the device's own is not installed, which reports more
                bytes for a step's work, but the same arguments and collectives
  --rehearse    ask no compiler
  --profile     the time of a step on one GPU, kernel by kernel, with layers scanned and unrolled: XLA's own programs,
                priced by their FLOPs and bytes. It needs the compiler but no GPU, and minutes of processor time
  --layout      print only the sharding of each parameter on the mesh
  --json        the plan as JSON

For a workdir, the run's own measurements follow, beside the plan for its devices.

FLOPs count the matrix products of the real program, two per multiply-add, with dense attention and without the
recomputation of remat. clip: the largest clip, nothing masked, through the backbone. training: that clip after masks
and DropToken, forward through backbone, decoder and heads. attention: products of two activations.
"""

MODALITIES = ("video", "audio", "text")


@dataclasses.dataclass(frozen=True)
class Options:
    """The command's own options; names are those of the flags."""

    devices: int | None
    device: Device | None
    mesh: Mesh | None
    mfu: float | None
    compile: bool
    rehearse: bool
    profile: bool
    layout: bool
    json: bool


def main(arguments: list[str]) -> int:
    """Parse, plan and print."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.importing import quick_imports
    from mmvideo.cli.terminal.field_names import check_flags
    from mmvideo.cli.terminal.usage_errors import parse_fields, take_first
    from mmvideo.experiment.find_config import find_config

    # A plan needs no accelerator: this leaves one that another process may be using alone.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    config, rest = take_first(arguments, "mmvideo plan CONFIG", "a recipe")
    find_config(config)
    options, rest = _options(rest)
    check_flags(rest, f"mmvideo plan {config}")
    with quick_imports():
        from mmvideo.experiment.choices.fitting import fit, given_fields, is_open
        from mmvideo.experiment.config import load_experiment

        experiment = parse_fields(load_experiment(config), rest, f"mmvideo plan {config}")
    if is_open(experiment):
        experiment, _ = fit(experiment, given_fields(rest))
    if options.device is not None and not options.layout:
        _launch(experiment, options)
        return 0
    from mmvideo.experiment.planning.plan import as_dict, parameter_layout, plan

    if options.mesh is not None:
        experiment = dataclasses.replace(experiment, mesh=options.mesh)
    if options.layout:
        print(parameter_layout(experiment, options.devices), end="")
        return 0
    found = plan(experiment, options.devices)
    if options.json:
        print(json.dumps(as_dict(found), indent=2))
    else:
        _print(found)
        _print_measured(experiment, config)
    return 0


def _options(arguments: list[str]) -> tuple[Options, list[str]]:
    """Parse the command's own flags, and return the remaining arguments."""
    from mmvideo.cli.plan_launch import parse_mesh
    from mmvideo.cli.terminal.usage_errors import UsageError, take_value
    from mmvideo.cost_model.devices import device_named

    rest, switches = list(arguments), {}
    # Removed by hand, since tyro parses all remaining flags as fields of the experiment.
    for name in ("compile", "rehearse", "profile", "layout", "json"):
        switches[name] = f"--{name}" in rest
        rest = [argument for argument in rest if argument != f"--{name}"]
    count, rest = take_value(rest, "--devices", "how many there are")
    kind, rest = take_value(rest, "--device", "a name such as h100 or v5p-128")
    axes, rest = take_value(rest, "--mesh", "axes such as data=8,fsdp=8")
    share, rest = take_value(rest, "--mfu", "a share such as 0.4")
    if count is not None and (not count.isdigit() or int(count) < 1):
        raise UsageError(f"--devices must be a number of 1 or more, not '{count}'")
    devices, device = None if count is None else int(count), None
    if kind is not None:
        device, chips = device_named(kind)
        if None not in (chips, devices) and chips != devices:
            raise UsageError(f"--device {kind} has {chips} chips, but --devices says {devices}: leave one out")
        # --devices wins; v5p-128 brings its 128 chips; a bare h100 is one.
        devices = devices or chips or 1
    elif share is not None or any(switches[name] for name in ("compile", "rehearse", "profile")):
        raise UsageError("--mfu, --compile, --rehearse and --profile need a --device")
    if switches["compile"] and switches["rehearse"]:
        raise UsageError("--compile asks XLA and --rehearse does not: leave one out")
    if switches["profile"] and (switches["rehearse"] or share is not None):
        raise UsageError("--profile asks XLA and tells the time from what it says: leave --rehearse and --mfu out")
    mesh = None if axes is None else parse_mesh(axes)
    return Options(devices, device, mesh, None if share is None else _share(share), **switches), rest


def _share(text: str) -> float:
    """Return the fraction of `--mfu`.

    Raises:
      UsageError: no number above 0 and at most 1.
    """
    from mmvideo.cli.terminal.usage_errors import UsageError

    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(f"--mfu must be above 0 and at most 1, not '{text}'")
    return share


def _launch(experiment: Experiment, options: Options) -> None:
    """Plan for named devices, and print."""
    from mmvideo.cli.plan_launch import as_json, compiled_table, launch_lines
    from mmvideo.cli.plan_profile import price_both, profile_tables
    from mmvideo.experiment.planning.device_plan import plan_devices, with_compiled_bytes
    from mmvideo.experiment.planning.plan import as_dict
    from mmvideo.experiment.planning.priced import check_priceable, layers_on_gpus, timed

    if options.profile:
        check_priceable(options.device, options.devices)
    found = plan_devices(experiment, options.device, options.devices, options.mesh, options.mfu)
    profile = price_both(experiment, found) if options.profile else []
    if not options.json:
        _print(found.plan)
    told = _ask(experiment, found, options)
    if told is not None:
        found = with_compiled_bytes(found, *told)
    if profile:
        found = timed(experiment, found, profile)
    if options.json:
        more = {"profile": [dataclasses.asdict(each) for each in profile]} if profile else {}
        print(json.dumps(as_dict(found.plan) | as_json(found, told) | more, indent=2))
        return
    _console().print(launch_lines(found), soft_wrap=True)
    if told is not None:
        _console().print(compiled_table(*told))
    for table in profile_tables(profile, layers_on_gpus(experiment.model)) if profile else ():
        _console().print(table)


def _ask(experiment: Experiment, found: DevicePlan, options: Options) -> tuple[DevicePlan, Compiled] | None:
    """Return the compiler's report; None if it was not requested or no compiler is installed."""
    from mmvideo.experiment.planning.device_plan import compile_launch, own_compiler

    if options.rehearse or not (options.compile or own_compiler(found)):
        return None
    if sys.stderr.isatty():
        print(f"asking XLA's compiler for {found.devices:,} x {found.device.title} …", file=sys.stderr)
    try:
        return compile_launch(experiment, found)
    except ValueError as error:
        if options.compile:
            raise
        print(f"the bytes are rehearsed, for {error}", file=sys.stderr)
        return None


def _print_measured(experiment: Experiment, config: str) -> None:
    """Print the measurements of the run, if the config is the workdir of one."""
    from pathlib import Path

    from mmvideo.experiment.planning.planned_vs_measured import planned_and_measured

    figures = planned_and_measured(experiment, config) if Path(config).is_dir() else []
    if figures:
        table = new_table("this run", "planned", "measured")
        table.add_column("")
        for figure in figures:
            table.add_row(*dataclasses.astuple(figure))
        _console().print(table)


def _console() -> Console:
    """Return a console that does not color numbers."""
    from rich.console import Console

    return Console(highlight=False)


def _print(plan: Plan) -> None:
    """Print the plan."""
    console, run = _console(), plan.run
    console.print(f"[bold]{plan.name}[/]: {run.steps:,} steps of {run.rows:,} rows, {run.clips:,} clips a step")
    for table in (_tokens(plan), _parts(plan), _memory(plan)):
        console.print(table)
    console.print(_summary(plan), soft_wrap=True)


def _tokens(plan: Plan) -> Table:
    """Return the table of tokens of the largest clip."""
    table = new_table("tokens of the largest clip", "whole", "encoded", "hidden")
    for name in MODALITIES:
        if plan.whole[name]:
            counts = (plan.whole[name], plan.need[name], plan.need[f"{name}_hidden"])
            table.add_row(name, *map(_number, counts))
    # need = {"video": 24, "video_hidden": 72, …}: encoded and hidden tokens are separate budgets.
    hidden = sum(plan.need[f"{name}_hidden"] for name in MODALITIES)
    table.add_section()
    table.add_row("all", *map(_number, (plan.whole["tokens"], plan.need["tokens"], hidden)), style="bold")
    if plan.need["decode"]:
        table.add_row("in the decoder", "", _number(plan.need["decode"]), "")
    return table


def _parts(plan: Plan) -> Table:
    """Return the table of parameters and FLOPs by part: products with weights, and products of attention."""
    programs = (plan.encoder, plan.forward)
    unit, letter = (1e9, "G") if plan.encoder.total >= 1e9 else (1e6, "M")
    table = new_table(f"parts, and {letter}FLOPs", "parameters", "clip", "attention", "training", "attention")

    def row(name: str, parameters: int, *flops: int, style: str | None = None) -> None:
        table.add_row(name, _number(parameters), *(_number(count / unit) for count in flops), style=style)

    # Parts without parameters, such as a loss, have FLOPs and get a row too.
    found = {part for products in programs for part in (*products.weights, *products.activations)}
    for part in [*plan.parameters, *sorted(found - set(plan.parameters))]:
        # Four columns: encoder weights, encoder attention, training weights, training attention.
        kinds = (kind for products in programs for kind in (products.weights, products.activations))
        row(part, plan.parameters.get(part, 0), *(kind.get(part, 0) for kind in kinds))
    table.add_section()
    sums = (sum(kind.values()) for products in programs for kind in (products.weights, products.activations))
    row("all", sum(plan.parameters.values()), *sums, style="bold")
    if plan.trained < sum(plan.parameters.values()):
        row("trained", plan.trained, 0, 0, 0, 0)
    return table


def _memory(plan: Plan) -> Table:
    """Return the table of bytes on a device."""
    devices = "the device" if plan.devices == 1 else f"each of {plan.devices:,} devices"
    table = new_table(f"bytes on {devices}, rehearsed", "GiB")
    for name, size in dataclasses.asdict(plan.memory).items():
        if size:
            table.add_row(name, _number(size / 2**30))
    table.add_section()
    table.add_row("all", _number(plan.memory.total / 2**30), style="bold")
    return table


def _summary(plan: Plan) -> str:
    """Return the totals of the plan as lines."""
    run = plan.run
    dense, spanned, forward = (flops / 1e9 for flops in (plan.encoder.total, plan.spanned, plan.forward.total))
    lines = [
        f"a clip  {dense:,.4g} GFLOPs through the trunk ({spanned:,.4g} within the spans of attention), "
        f"{forward:,.4g} forward in training",
        f"a step  {run.flops / 1e12:,.4g} TFLOPs forward and backward; {run.tokens:,} tokens in {run.slots:,} slots",
        f"the run {run.steps * run.flops:.3g} FLOPs, {run.steps * run.clips:,} clips",
    ]
    if plan.vocabulary:
        lines.append(f"text    a vocabulary of {plan.vocabulary:,} tokens")
    return "\n".join(lines)


def _number(number: float) -> str:
    """Return a count in full, a measure with three digits or as a whole number, and an empty string for 0."""
    # 1234 gives "1,234", 0.4567 gives "0.457", 0.0004 gives "<0.001".
    if number < 1e-3:
        return "" if number == 0 else "<0.001"
    if isinstance(number, int) or number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
