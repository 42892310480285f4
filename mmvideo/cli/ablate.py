"""`mmvideo ablate SUITE [--tier toy|accelerator|paper] [--only axis=value] [--launcher local|slurm|jobset] …`."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import argparse

    from mmvideo.ablation.cells import Cell
    from mmvideo.ablation.cost import Cost
    from mmvideo.ablation.launchers.local import Launcher
    from mmvideo.ablation.pages.plan_page import PlannedTier
    from mmvideo.ablation.schedule import Run
    from mmvideo.ablation.suite import Suite
    from mmvideo.cost_model.devices import Device
    from mmvideo.experiment.config import Experiment

SUBMITIT = "submitit"
"""Subfolder of a tier for submitit's files."""

MOST = 4096
"""Largest number of devices of a paper-tier run whose batch needs more than one host."""

ABOUT = """Run an ablation suite, from its axes to tables and plots.

SUITE is a folder with a suite.py, such as experiments/mbt. The plan comes first: cells, FLOPs, time, storage. Then
cells run side by side. If anything stops them, the same command resumes and repeats no finished cell. A failed cell is
reported, and tried again by the next call. Tables, plots and a page are written when all cells have ended, or with
--results from those that have.
"""


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    import argparse

    from mmvideo.cli.terminal.usage_errors import Parser

    parser = Parser(prog="mmvideo ablate", description=ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", metavar="SUITE")
    parser.add_argument(
        "--tier",
        default="toy",
        help="toy: minutes on a laptop; accelerator: the toy's cells at a size for one GPU; paper: published size, for "
        "a cluster",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="AXIS=VALUE", help="only these cells; repeatable"
    )
    parser.add_argument("--launcher", default="local", choices=("local", "slurm", "jobset"), help="where cells run")
    parser.add_argument("--jobs", type=int, help="cells side by side (default: one a GPU, or one a core)")
    parser.add_argument("--folder", type=Path, help="output folder (default: runs/ablations/SUITE-TIER)")
    parser.add_argument("--out", type=Path, help="second folder for tables and plots, such as experiments/mbt/toy")
    parser.add_argument("--plan", action="store_true", help="show the plan (with --out also as plan.md); run nothing")
    parser.add_argument("--device", help="accelerator of a cell, such as h100 (the default except for toy)")
    parser.add_argument(
        "--devices", type=int, help="accelerators of a cell (default: 1; for paper as few hosts as it fits)"
    )
    parser.add_argument("--results", action="store_true", help="write the results so far, and run nothing")
    parser.add_argument(
        "--slurm", action="append", default=[], metavar="KEY=VALUE", help="parameter of sbatch, such as partition=gpu"
    )
    parser.add_argument(
        "--cluster", default="slurm", choices=("slurm", "local"), help="local: submitit's jobs run here"
    )
    parser.add_argument("--manifest", type=Path, help="a JobSet, such as tools/launch/jobset_gpu.yaml, to fill in")
    return parser


def main(arguments: list[str]) -> int:
    """Plan, run and write the results; return 0 when all cells are done, 1 when one failed, 3 when some are left."""
    options = _parser().parse_args(arguments)
    from mmvideo.ablation.cells import cells_of, load_suite, tier_of
    from mmvideo.ablation.make_corpora import CORPORA, check_data, make_corpora
    from mmvideo.ablation.schedule import finished, runs_of, write_down
    from mmvideo.cli.terminal.usage_errors import UsageError

    for name in ("jobs", "devices"):
        if (number := getattr(options, name)) is not None and number < 1:
            raise UsageError(f"--{name} must be 1 or more, not {number}")
    suite = load_suite(options.suite)
    tier = tier_of(suite, options.tier)
    folder = options.folder or Path("runs/ablations") / f"{suite.name}-{options.tier}"
    # Toy cells share few inputs, so their batches are cached on disk; those of larger tiers would fill it.
    keep = str((Path(CORPORA) / "batches").absolute()) if options.tier == "toy" else None
    cells = cells_of(tier, [_pair(text, "--only", "axis=value") for text in options.only], keep)
    if not cells:
        raise UsageError("--only leaves no cell: no study has all of these axes")
    runs = runs_of(folder, cells, tier.before)
    # By run folder name, once per run, although several cells may share a run.
    experiments = {place: run.experiment for place, run in runs.items()}
    if options.results:
        from mmvideo.ablation.forecast import costs_of

        _write_results(suite, options.tier, cells, folder, costs_of(experiments, folder), options.out)
        return 0
    done = finished(folder, runs)
    plan = _plan(suite, cells, experiments, done, folder, options)
    _show_plan(plan, options)
    if options.plan:
        return 0
    # After the plan: settings that cannot work are reported before minutes of generating clips.
    make_corpora(tier.corpora)
    check_data(tier, cells)
    launcher = _launcher(plan, options, folder)
    write_down(folder, runs)
    if launcher is None:
        return _write_jobsets(folder, [place for place in runs if place not in done], options)
    return _run(plan, runs, folder, launcher, options)


def _run(plan: PlannedTier, runs: dict[str, Run], folder: Path, launcher: Launcher, options: Any) -> int:
    """Run all that is left, and write the results."""
    from mmvideo.ablation.schedule import finished, run_all
    from mmvideo.ablation.suite_progress import SuiteProgress

    # A closed terminal or a scheduler sends SIGTERM: it is handled like Ctrl-C, so that running cells save and stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcome = run_all(folder, runs, launcher, SuiteProgress(folder, plan.costs, finished(folder, runs)))
    for place, why in outcome.failed.items():
        print(f"failed: {place}: {why} ({folder}/log/{place}.txt)", file=sys.stderr)
    if outcome.left:
        print(f"{len(outcome.left)} runs are left; run the same command to resume")
        return 3
    _write_results(plan.suite, options.tier, plan.cells, folder, plan.costs, options.out)
    return 1 if outcome.failed else 0


def _plan(
    suite: Suite, cells: list[Cell], runs: dict[str, Experiment], done: set[str], folder: Path, options: Any
) -> PlannedTier:
    """Plan every run, and the SLURM script of the first one if it was requested."""
    from mmvideo.ablation.cells import tier_of
    from mmvideo.ablation.forecast import costs_of, forecast_cost
    from mmvideo.ablation.pages.plan_page import PlannedTier

    device, devices, most = _devices(options)

    def tell(number: int, count: int) -> None:
        # \r rewrites the line on a terminal; in a log every count would be kept.
        if sys.stderr.isatty():
            print(f"\rplanning {number} of {count} runs", end="" if number < count else "\n", file=sys.stderr)

    costs = costs_of(runs, folder, device, devices, most, tell)
    sum_of = forecast_cost(cells, runs, costs, done)
    plan = PlannedTier(suite, tier_of(suite, options.tier), options.tier, cells, runs, costs, sum_of, device, None)
    if not (options.plan and options.launcher == "slurm"):
        return plan
    from mmvideo.ablation.launchers.slurm import script

    first = next(iter(runs))
    text = script(folder.absolute() / SUBMITIT, _job(plan, options)(first), first)
    return dataclasses.replace(plan, script=text)


def _devices(options: Any) -> tuple[Device | None, int, int | None]:
    """Return the device of a cell (None if unknown), their number, and their limit where a batch does not fit."""
    from mmvideo.cost_model.devices import device_named

    # toy: no device, so no time is planned. accelerator: one h100. paper: one host of h100, more if a batch needs them.
    # A name such as v5p-128 includes its number of chips.
    kind = options.device or (None if options.tier == "toy" else "h100")
    device, chips = (None, None) if kind is None else device_named(kind)
    if chips or options.devices or options.tier != "paper":
        return device, chips or options.devices or 1, None
    return device, device.host, MOST


def _job(plan: PlannedTier, options: Any) -> Callable[[str], dict[str, Any]]:
    """Return a function from a run folder name to the SLURM parameters of its job."""
    from mmvideo.ablation.launchers.slurm import job, named_as_sbatch

    given = named_as_sbatch(_parameters(options.slurm))
    return lambda place: job(plan.device, plan.costs[place].devices or 1, plan.costs[place].hours, given)


def _show_plan(plan: PlannedTier, options: Any) -> None:
    """Print the plan, and write it where requested."""
    suite = plan.suite
    print(f"{suite.title} ({suite.name}, {plan.name})\nfixed: {suite.fixed}")
    for study in plan.tier.studies:
        axes = " x ".join(f"{axis.name} ({', '.join(choice.label for choice in axis.choices)})" for axis in study.axes)
        print(f"  {study.name}: {axes}")
    for line in _outlook_lines(plan):
        print(line)
    if plan.script is not None:
        print("\n" + plan.script)
    if options.plan and options.out is not None:
        from mmvideo.ablation.pages.plan_page import write_plan

        print(f"plan: {write_plan(plan, options.out)}")


def _outlook_lines(plan: PlannedTier) -> list[str]:
    """Return the totals of the plan as lines."""
    from mmvideo.ablation.pages.plan_page import devices_in_words, in_hours
    from mmvideo.training.checkpoint.storage_errors import size_in_words
    from mmvideo.training.logging.progress import short

    found, tier = plan.outlook, plan.tier
    lines = [
        f"cells    {found.cells}, with {len(tier.seeds)} seeds; {found.runs} runs, {found.done} of them done",
        f"FLOPs    {short(found.flops / 1e12)} T in all, {short(found.left / 1e12)} T left",
        f"storage  {size_in_words(found.storage)} of checkpoints and kept batches",
    ]
    if found.hours is not None:
        devices = f"{devices_in_words(plan.costs.values())} x {plan.device.title}"
        lines.append(f"time     {in_hours(found.hours)} h on {devices}, one run after the other")
    elif tier.minutes:
        lines.append(f"time     stated: {tier.minutes:g} minutes on two cores")
    if tier.needs:
        lines.append(f"needs    {tier.needs}")
    return lines


def _launcher(plan: PlannedTier, options: Any, folder: Path) -> Launcher | None:
    """Return the launcher; None for JobSets, which are only written."""
    from mmvideo.cli.terminal.usage_errors import UsageError

    if options.launcher == "local":
        from mmvideo.ablation.launchers.local import Local

        return Local(options.jobs)
    if options.launcher == "slurm":
        from mmvideo.ablation.launchers.slurm import Slurm

        return Slurm(folder / SUBMITIT, _job(plan, options), options.jobs or 64, options.cluster)
    if options.manifest is None:
        raise UsageError("--launcher jobset needs --manifest, such as tools/launch/jobset_gpu.yaml")
    return None


def _write_jobsets(folder: Path, places: list[str], options: Any) -> int:
    """Write a manifest per run, for the user to apply."""
    from mmvideo.ablation.launchers.jobset import write_jobsets

    written = write_jobsets(folder, places, options.manifest)
    print(
        f"{len(written)} JobSets in {written[0].parent if written else folder}: kubectl apply -f {folder / 'jobsets'}"
    )
    # Kubernetes starts all manifests at once; a run without its shared checkpoint would fail.
    if any(place.startswith("shared-") for place in places):
        print("apply those called shared-… first: others start from their checkpoints")
    print("run the same command with --results to see their results")
    return 3 if written else 0


def _write_results(
    suite: Suite, name: str, cells: list[Cell], folder: Path, costs: dict[str, Cost], out: Path | None
) -> None:
    """Write tables, plots and the page, and print the table."""
    from mmvideo.ablation.pages.result_files import write_pages
    from mmvideo.ablation.results import gather

    found = gather(suite, name, cells, folder, costs)
    page = write_pages(found)
    if out is not None:
        write_pages(found, out)
    print((folder / "table.md").read_text(encoding="utf-8"))
    print(f"results: {page}" + (f", and in {out}" if out is not None else ""))


def _parameters(given: list[str]) -> dict[str, Any]:
    """Return the values of `--slurm KEY=VALUE`, as integers where they are digits."""
    found: dict[str, Any] = {}
    for text in given:
        key, value = _pair(text, "--slurm", "key=value")
        # "gpus_per_node=4" gives 4, "partition=gpu" gives "gpu": submitit checks the types.
        found[key] = int(value) if value.isdigit() else value
    return found


def _pair(text: str, flag: str, form: str) -> tuple[str, str]:
    """Split `NAME=VALUE`.

    Raises:
      UsageError: another form.
    """
    from mmvideo.cli.terminal.usage_errors import UsageError

    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{flag} {text} must be {form}")
    return name, value
