"""The output of `mmvideo plan --profile`: the time of a step, kernel by kernel."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mmvideo.experiment.config import Experiment
    from mmvideo.experiment.planning.device_plan import DevicePlan
    from mmvideo.experiment.planning.priced import Priced

WAYS = ("scanned", "unrolled")


def price_both(experiment: Experiment, launch: DevicePlan) -> list[Priced]:
    """Return the price of a step with scanned and with unrolled layers; one price for a model without such layers.

    Raises:
      ValueError: as `price_launch`.
    """
    from mmvideo.experiment.planning.priced import price_launch
    from mmvideo.model.config import Model

    found = []
    for layers in WAYS if isinstance(experiment.model, Model) else WAYS[:1]:
        if sys.stderr.isatty():
            print(f"compiling for {launch.device.title}, layers {layers} …", file=sys.stderr)
        found.append(price_launch(experiment, launch, layers))
    return found


def profile_tables(found: list[Priced], ahead: str) -> list[Table]:
    """Return a table of milliseconds by category and program, and one of the longest operations of a run's own program.

    Args:
      found: prices from `price_both`.
      ahead: `scanned` or `unrolled`, as a run does it.
    """
    from mmvideo.cli.terminal.tables import new_table

    table = new_table(f"ms of a step, {found[0].rows:,} rows", *(f"layers {each.layers}" for each in found))
    for category in dict.fromkeys(line.category for each in found for line in each.lines):
        lines = (next((line for line in each.lines if line.category == category), None) for each in found)
        table.add_row(
            category, *("" if one is None else f"{one.seconds * 1e3:,.1f} ({one.kernels:,})" for one in lines)
        )
    table.add_section()
    table.add_row("all", *(f"{each.seconds * 1e3:,.1f}" for each in found), style="bold")
    table.add_row("MFU", *(f"{each.mfu:.3f}" for each in found))
    table.add_row("GiB", *(f"{(each.arguments + each.scratch) / 2**30:,.2f}" for each in found))
    table.add_row("compiled in", *(f"{each.compiling:,.0f} s" for each in found))
    table.caption = f"Priced, not measured (mmvideo/cost_model/prices.py); kernels in brackets. A run goes {ahead}."
    (used,) = (each for each in found if each.layers == ahead or len(found) == 1)
    largest = new_table(f"longest, layers {used.layers}", "ms", "times", "GFLOPs", "MB", "category")
    for one in used.largest:
        numbers = (one.seconds * 1e3, one.times, one.flops / 1e9, one.bytes / 1e6)
        largest.add_row(one.name[:40], *(f"{number:,.4g}" for number in numbers), one.category)
    return [table, largest]
