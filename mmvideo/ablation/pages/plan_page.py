"""The plan of a tier as a page: the devices of every run, the data, and the SLURM script."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmvideo.ablation.cells import Cell
from mmvideo.ablation.cost import Cost
from mmvideo.ablation.forecast import CostForecast
from mmvideo.ablation.pages.document import DASH, Document, Entry, Section, Table, format_entries, format_large
from mmvideo.ablation.pages.markdown import markdown
from mmvideo.ablation.suite import Suite, Tier
from mmvideo.cost_model.devices import USABLE, Device
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.device_plan import step_time
from mmvideo.records.whole import write_whole
from mmvideo.training.checkpoint.storage_errors import size_in_words

READING = (
    "FLOPs: of training, forward and backward, attention dense. Memory: of one device, as planned for the rows it has. "
    "A run has as many times the devices as its batch needs, unless `--devices` says how many. Where the rows don't "
    "fit, they go in so many turns (`training.optimizer.accumulate`, with as many fewer rows each); turns change what "
    "a contrastive loss compares, so that is left to whoever runs it. Hours: of training on these devices at the "
    "stated pace; evaluation, and clips read too slowly, come on top."
)


@dataclasses.dataclass(frozen=True)
class PlannedTier:
    """The plan of a tier.

    Attributes:
      suite, tier, name: planned suite and tier, and the tier's name.
      cells: cells of the tables.
      runs: settings of all runs by folder name, shared runs included.
      costs: cost of each run.
      outlook: total cost.
      device: device of the runs; None plans no time.
      script: SLURM script of the first run, or None.
    """

    suite: Suite
    tier: Tier
    name: str
    cells: Sequence[Cell]
    runs: Mapping[str, Experiment]
    costs: Mapping[str, Cost]
    outlook: CostForecast
    device: Device | None
    script: str | None


def write_plan(plan: PlannedTier, folder: str | Path) -> Path:
    """Write `plan.md` and return its path."""
    path = Path(folder) / "plan.md"
    write_whole(path, markdown(document(plan)))
    return path


def document(plan: PlannedTier) -> Document:
    """Return the page."""
    command = f"mmvideo ablate experiments/{plan.suite.name} --tier {plan.name}"
    lead = (f"Held fixed: {plan.suite.fixed}.", f"`{command}` runs it.")
    parts = [_study(plan, name) for name in dict.fromkeys(cell.study for cell in plan.cells)]
    shared = [place for place in plan.runs if place not in {cell.place for cell in plan.cells}]
    if shared:
        parts.append(_shared(plan, shared))
    # The explanation of the columns stands once, above the first table.
    parts[0] = dataclasses.replace(parts[0], lead=READING)
    parts.append(_data(plan))
    if plan.script is not None:
        parts.append(_script(plan.script))
    return Document(f"{plan.suite.title}: the {plan.name} tier, planned", lead, tuple(_facts(plan)), tuple(parts))


def _facts(plan: PlannedTier) -> list[tuple[str, str]]:
    """Return the facts about all runs together."""
    found, tier = plan.outlook, plan.tier
    told = [
        ("runs", f"{found.runs}, for {found.cells} cells with {len(tier.seeds)} seed{'s' * (len(tier.seeds) > 1)}"),
        ("FLOPs", _scientific(found.flops)),
        ("storage", f"{size_in_words(found.storage)} of checkpoints"),
    ]
    if plan.device is None or found.hours is None:
        return told
    # 0 FLOPs, since only the MFU and its source are used; equal ones are listed once.
    paces = dict.fromkeys("MFU {:.3g}, {}".format(*step_time(run, plan.device, 1, 0.0)) for run in plan.runs.values())
    numbers = devices_in_words(plan.costs.values())
    usable = size_in_words(plan.device.memory * USABLE)
    return [
        *told,
        ("a run is on", f"{numbers} x {plan.device.title}, of whose memory {usable} may be filled"),
        ("time", f"{in_hours(found.hours)} hours of those, {in_hours(found.device_hours)} of one device"),
        ("pace", "; ".join(paces)),
    ]


def _study(plan: PlannedTier, name: str) -> Section:
    """Return the table of a study, for its first seed: the other seeds cost the same."""
    own = [cell for cell in plan.cells if cell.study == name and cell.seed == plan.cells[0].seed]
    axes = tuple(own[0].labels)
    rows = tuple(format_entries(*cell.labels.values()) + _figures(plan, cell.place) for cell in own)
    return Section(name, name, tables=(_table(axes, rows),))


def _shared(plan: PlannedTier, places: Sequence[str]) -> Section:
    """Return the section of the shared runs."""
    rows = tuple(format_entries(place) + _figures(plan, place) for place in places)
    lead = "From these the cells above start; each is trained once."
    return Section("shared", "Runs that cells share", lead, (_table(("run",), rows),))


def _table(words: tuple[str, ...], rows: tuple[tuple[Entry, ...], ...]) -> Table:
    """Return a table of costs after columns of labels."""
    figures = ("parameters", "steps", "FLOPs", "memory", "devices", "rows a device", "a step", "hours", "checkpoints")
    return Table((*words, *figures), rows, words=len(words))


def _figures(plan: PlannedTier, place: str) -> tuple[Entry, ...]:
    """Return the costs of a run as entries."""
    cost = plan.costs[place]
    kept = plan.runs[place].training.keep or 1
    return format_entries(
        format_large(cost.parameters),
        f"{cost.steps:,}",
        _scientific(cost.flops),
        size_in_words(cost.bytes),
        DASH if cost.devices is None else f"{cost.devices:,}",
        _rows(cost),
        DASH if cost.seconds is None else f"{cost.seconds:.3g} s",
        DASH if cost.hours is None else in_hours(cost.hours),
        size_in_words(cost.checkpoint * kept),
    )


def devices_in_words(costs: Iterable[Cost]) -> str:
    """Return `8`, or `8 to 512` where some runs need more."""
    # Twice, since the unpacking needs two items at least: [8] becomes [8, 8].
    fewest, *_, most = sorted([cost.devices for cost in costs] * 2)
    return f"{fewest}" if fewest == most else f"{fewest} to {most}"


def in_hours(number: float) -> str:
    """Return hours with one decimal, `1,514.1`, or two digits of a small number, `0.0021`."""
    return f"{number:,.1f}" if number >= 0.05 or number == 0 else f"{number:.2g}"


def _scientific(number: float) -> str:
    """Return a number such as `2.73e21`."""
    return f"{number:.3g}".replace("e+", "e")


def _rows(cost: Cost) -> str:
    """Return the rows of one device, and whether they fit its memory."""
    if cost.rows is None:
        return DASH
    if cost.grad_accum_steps == 0:
        return f"{cost.rows:,}: not one fits"
    return f"{cost.rows:,} fit" if cost.grad_accum_steps == 1 else f"{cost.rows:,} in {cost.grad_accum_steps} turns"


def _data(plan: PlannedTier) -> Section:
    """Return the section of required corpora and checkpoints."""
    runs = list(plan.runs.values())
    trained = {source.path for run in runs for source in run.input.sources}
    measured = {source.path for run in runs for source in run.evaluation.sources}
    starts = {start for run in runs if (start := run.training.init_from) and start.startswith("runs/")}
    told = {
        "trained on": trained,
        "measured on, where that is another": measured - trained,
        "started from": starts,
    }
    lines = [f"- {words}: {', '.join(f'`{path}`' for path in sorted(paths))}" for words, paths in told.items() if paths]
    needs = [f"Needs {plan.tier.needs}.", ""] if plan.tier.needs else []
    return Section("data", "Data", "\n".join([*needs, *lines]))


def _script(text: str) -> Section:
    """Return the section of the SLURM script, with paths relative to the working directory."""
    plain = text.replace(f"{Path.cwd()}/", "").replace(shlex.quote(sys.executable), "python")
    lead = (
        "What `--launcher slurm` submits for the first run, with paths from the folder in which it is called; other "
        "runs differ in their names, and in the devices and the time that they ask for. `--slurm KEY=VALUE` sets "
        "whatever sbatch takes. "
        "A run that is longer than its job is queued again by the job itself, and goes on from its checkpoint."
    )
    return Section("slurm", "SLURM", f"{lead}\n\n```bash\n{plain.strip()}\n```")
