"""`mmvideo plan CONFIG [--devices N] [--json] [--field.path VALUE …]`."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mmvideo.experiment.plan import Plan

ABOUT = """usage: mmvideo plan CONFIG [--devices N] [--json] [--field.path VALUE …]

Tells what a run needs before it is launched, without its corpus, as if every clip were as long as its
views and had every modality: tokens, parameters and FLOPs by part of the model, bytes, and the whole run.
CONFIG and fields are those of `mmvideo train`.

  --devices N   bytes on each of N devices, shared as the config's mesh says (default: as few as it allows)
  --json        the plan as JSON

FLOPs count the products of the real program at two a multiply-add, attention dense, and nothing twice that
remat computes twice. clip: the largest clip, nothing hidden, through the trunk. training: that clip as masks
and DropToken leave it, forward through trunk, decoder and heads. attention: products of two activations.
"""

MODALITIES = ("video", "audio", "text")


def main(arguments: list[str]) -> int:
    """Parses, plans and prints."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.mistakes import UsageError, parse_fields
    from mmvideo.experiment.config import load_experiment

    config, *rest = arguments
    if config.startswith("-"):
        raise UsageError(f"the recipe comes first: mmvideo plan CONFIG …, not {config}")
    as_json = "--json" in rest
    devices, rest = _take_devices([argument for argument in rest if argument != "--json"])
    experiment = parse_fields(load_experiment(config), rest, f"mmvideo plan {config}")
    from mmvideo.experiment.plan import plan

    _print(plan(experiment, devices), as_json)
    return 0


def _take_devices(arguments: list[str]) -> tuple[int | None, list[str]]:
    """Takes `--devices N` or `--devices=N` out of the arguments."""
    from mmvideo.cli.mistakes import UsageError

    rest, devices = [], None
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--devices":
            devices = next(waiting, "")
        elif argument.startswith("--devices="):
            devices = argument.split("=", 1)[1]
        else:
            rest.append(argument)
    if devices is None:
        return None, rest
    if not devices.isdigit() or int(devices) < 1:
        raise UsageError(f"--devices must be a number of 1 or more, not '{devices}'")
    return int(devices), rest


def _print(plan: Plan, as_json: bool) -> None:
    if as_json:
        from mmvideo.experiment.plan import as_dict

        print(json.dumps(as_dict(plan), indent=2))
        return
    from rich.console import Console

    console = Console(highlight=False)
    run = plan.run
    console.print(f"[bold]{plan.name}[/]: {run.steps:,} steps of {run.rows:,} rows, {run.clips:,} clips a step")
    for table in (_tokens(plan), _parts(plan), _memory(plan)):
        console.print(table)
    console.print(_summary(plan), soft_wrap=True)


def _tokens(plan: Plan) -> Table:
    """Tokens of the largest clip."""
    table = _table("tokens of the largest clip", "whole", "encoded", "hidden")
    for name in MODALITIES:
        if plan.whole[name]:
            counts = (plan.whole[name], plan.need[name], plan.need[f"{name}_hidden"])
            table.add_row(name, *map(_number, counts))
    hidden = sum(plan.need[f"{name}_hidden"] for name in MODALITIES)
    table.add_section()
    table.add_row("all", *map(_number, (plan.whole["tokens"], plan.need["tokens"], hidden)), style="bold")
    if plan.need["decode"]:
        table.add_row("in the decoder", "", _number(plan.need["decode"]), "")
    return table


def _parts(plan: Plan) -> Table:
    """Parameters and products by part: those with weights, and those of attention, between activations."""
    programs = (plan.encoder, plan.forward)
    unit, letter = (1e9, "G") if plan.encoder.total >= 1e9 else (1e6, "M")
    table = _table(f"parts, and {letter}FLOPs", "parameters", "clip", "attention", "training", "attention")

    def row(name: str, parameters: int, *flops: int, style: str | None = None) -> None:
        table.add_row(name, _number(parameters), *(_number(count / unit) for count in flops), style=style)

    found = {part for products in programs for part in (*products.weights, *products.activations)}
    for part in [*plan.parameters, *sorted(found - set(plan.parameters))]:
        kinds = (kind for products in programs for kind in (products.weights, products.activations))
        row(part, plan.parameters.get(part, 0), *(kind.get(part, 0) for kind in kinds))
    table.add_section()
    sums = (sum(kind.values()) for products in programs for kind in (products.weights, products.activations))
    row("all", sum(plan.parameters.values()), *sums, style="bold")
    if plan.trained < sum(plan.parameters.values()):
        row("trained", plan.trained, 0, 0, 0, 0)
    return table


def _memory(plan: Plan) -> Table:
    """Bytes on a device."""
    devices = "the device" if plan.devices == 1 else f"each of {plan.devices:,} devices"
    table = _table(f"bytes on {devices}", "GiB")
    for name, size in dataclasses.asdict(plan.memory).items():
        if size:
            table.add_row(name, _number(size / 2**30))
    table.add_section()
    table.add_row("all", _number(plan.memory.total / 2**30), style="bold")
    return table


def _summary(plan: Plan) -> str:
    run = plan.run
    dense, spanned, forward = (flops / 1e9 for flops in (plan.encoder.total, plan.spanned, plan.forward.total))
    lines = [
        f"a clip  {dense:,.4g} GFLOPs through the trunk ({spanned:,.4g} within the spans of attention), "
        f"{forward:,.4g} forward in training",
        f"a step  {run.flops / 1e12:,.4g} TFLOPs forward and backward; {run.tokens:,} tokens in {run.slots:,} slots",
        f"the run {run.steps * run.flops:.3g} FLOPs, {run.steps * run.clips:,} clips",
    ]
    if plan.vocabulary:
        lines.append(f"text    a vocabulary of {plan.vocabulary:,} pieces")
    return "\n".join(lines)


def _table(first: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _number(number: float) -> str:
    """A count in full, a measure to three digits or the whole part; nothing for none."""
    if number < 1e-3:
        return "" if number == 0 else "<0.001"
    if isinstance(number, int) or number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
