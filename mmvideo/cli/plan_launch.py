"""The output of `mmvideo plan` about devices: tables of memory and speed, and XLA's report."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mmvideo.experiment.planning.device_plan import DevicePlan
    from mmvideo.experiment.planning.xla_compile import Compiled
    from mmvideo.parallel.config import Mesh


def parse_mesh(text: str) -> Mesh:
    """Return the mesh of a text such as `data=2,fsdp=4`; axes that are not named have size 1.

    Raises:
      UsageError: an unknown axis, or a size that is not an integer.
    """
    from mmvideo.cli.terminal.usage_errors import UsageError, did_you_mean
    from mmvideo.parallel.config import Mesh
    from mmvideo.parallel.mesh import AXES

    # "data=2,fsdp=4" becomes Mesh(data=2, fsdp=4, context=1, tensor=1).
    sizes = dict.fromkeys(AXES, 1)
    for part in text.split(","):
        name, _, size = part.partition("=")
        if name not in sizes:
            raise UsageError(f"--mesh has no axis '{name}'{did_you_mean(name, sizes)}; write such as data=8,fsdp=8")
        try:
            sizes[name] = int(size)
        except ValueError:
            raise UsageError(f"--mesh {name} must be a whole number, or -1 for what is left, not '{size}'") from None
    return Mesh(**sizes)


def launch_lines(launch: DevicePlan) -> str:
    """Return the device plan as aligned lines."""
    rows = (*_rows_of_a_device(launch), *_speed(launch))
    # Columns: name at the left, value at the right, note.
    wide = [max(len(row[column]) for row in rows) for column in range(2)]
    lines = [f"{name:{wide[0]}}  {number:>{wide[1]}}  {words}".rstrip() for name, number, words in rows]
    return "\n".join([f"\non {launch.devices:,} x {launch.device.title}", *lines])


def _rows_of_a_device(launch: DevicePlan) -> list[tuple[str, str, str]]:
    """Return the lines on mesh, rows, memory and padding: name, value and note."""
    gib = launch.device.memory / 2**30
    mesh = " x ".join(f"{name}={size}" for name, size in launch.sizes.items() if size > 1) or "one device"
    refitted = "the recipe's, cut down to what fits these devices" if launch.refitted else ""
    source = "by XLA's compiler" if launch.compiled else "rehearsed"
    if not launch.fits:
        verdict = "not even one row fits: cut parameters by --mesh fsdp=…, or take remat"
    elif launch.grad_accum_steps == 1:
        verdict = f"fits; up to {launch.fits:,} a device would"
    else:
        parts = launch.grad_accum_steps
        verdict = (
            f"{launch.fits:,} fit: give {parts}x the devices, or 1/{parts} of the rows "
            f"with optimizer.accumulate {parts}"
        )
    return [
        ("mesh", mesh, refitted),
        ("rows a device", f"{launch.rows:,}", verdict),
        (
            "memory",
            f"{launch.bytes / 2**30:,.3g} GiB",
            f"with these rows, of {gib:,.3g}, of which {launch.usable / 2**30:,.3g} may be filled; {source}",
        ),
        ("padding", f"{launch.padding:.1%}", "of token slots, if every clip were the largest"),
    ]


def _speed(launch: DevicePlan) -> list[tuple[str, str, str]]:
    """Return the lines on speed, traffic and host cores: name, value and note."""
    hosts = -(-launch.devices // launch.device.host)
    hours = launch.plan.run.steps * launch.seconds / 3600
    # Bytes over bytes a second, as if nothing were computed meanwhile; much of it overlaps with matrix products.
    sending = launch.traffic / launch.device.link
    # Chips of a TPU slice are linked across hosts; GPUs only within a host.
    apart = launch.devices > launch.device.host and not launch.device.dimensions
    where = "within a host; between hosts the network decides" if apart else "most of it beside the products"
    return [
        ("model FLOPs a step", f"{launch.flops:.3g}", "on real tokens, within the spans of attention"),
        ("MFU", f"{launch.mfu:.3g}", launch.source),
        ("a step", f"{launch.seconds:,.3g} s", f"{launch.clips_per_second:,.4g} clips/s; the run {hours:,.4g} hours"),
        (
            "sent a step",
            f"{launch.traffic / 2**30:,.3g} GiB",
            f"by each device for parameters and gradients: {sending * 1e3:,.3g} ms, {where}",
        ),
        (
            "host cores",
            f"{launch.cores:,.3g}",
            f"to decode as fast, {launch.cores / hosts:,.3g} a host of {launch.device.host} (256-pixel H.264)",
        ),
    ]


def compiled_table(launch: DevicePlan, found: Compiled) -> Table:
    """Return the table of planned bytes beside XLA's, with the collectives of the program."""
    from mmvideo.cli.terminal.tables import new_table

    table = new_table(f"compiled for {found.platform} in {found.seconds:,.3g} s", "rehearsed", "XLA's")
    work = launch.memory.gradients + launch.memory.activations
    planned = (launch.memory.held, work, launch.memory.total)
    told = (found.arguments, found.scratch, found.total)
    names = ("arguments, GiB", "gradients and activations, GiB", "all, GiB")
    for name, ours, theirs in zip(names, planned, told, strict=True):
        table.add_row(name, f"{ours / 2**30:,.4g}", f"{theirs / 2**30:,.4g}")
    for each in found.collectives:
        table.add_row(each.kind, "", f"{each.count:,} x, {each.bytes / 2**30:,.3g} GiB")
    table.caption = trust(found)
    return table


def trust(found: Compiled) -> str:
    """Return the caption: the origin of the values, and which to rely on."""
    if not found.own:
        return (
            "XLA's are for CPUs here: arguments and collectives are the accelerator's, the rest is more than it needs. "
            "Go by the rehearsed bytes."
        )
    return (
        "XLA's: the device's own compiler, which allocates these bytes; attention stands in for the fused kernel. "
        "Go by XLA's."
    )


def as_json(launch: DevicePlan, told: tuple[DevicePlan, Compiled] | None) -> dict:
    """Return both tables as plain values."""
    from mmvideo.experiment.planning.device_plan import as_dict

    compiled = {} if told is None else {"compiled": dataclasses.asdict(told[1]), "planned": as_dict(told[0])}
    return {"launch": as_dict(launch) | compiled}
