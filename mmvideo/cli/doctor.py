"""`mmvideo doctor [CONFIG] [--workdir DIR] [--corpus CORPUS[:SPLIT] …] [--field.path VALUE …]`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmvideo.experiment.diagnostics.doctor import Finding

ABOUT = """usage: mmvideo doctor [CONFIG] [--workdir DIR] [--corpus CORPUS[:SPLIT]] [--field.path VALUE …]

Check what a run needs before its launch: versions, XLA flags that this jaxlib refuses, devices and their
results, a sum over all devices, storage, corpora. Each check prints a line: ok, warning or FAILED, with advice.
The exit code is 0 if nothing FAILED, else 1.
CONFIG and fields are those of `mmvideo train`: its mesh, workdir and corpora are checked. Launched like a run
on all its hosts, it checks all of them; the first process prints every line, the others those that are not ok.

  --workdir DIR           folder of the run (default: runs/NAME of CONFIG, or the working directory)
  --corpus CORPUS[:SPLIT] further corpus to check; repeatable
"""


def main(arguments: list[str]) -> int:
    """Parse, check and print."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.importing import quick_imports
    from mmvideo.cli.terminal.field_names import check_flags
    from mmvideo.cli.terminal.usage_errors import Parser, UsageError, parse_fields
    from mmvideo.experiment.find_config import find_config

    named = bool(arguments) and not arguments[0].startswith("-")
    config, rest = (arguments[0], arguments[1:]) if named else (None, arguments)
    parser = Parser(prog="mmvideo doctor", add_help=False, allow_abbrev=False)
    parser.add_argument("--workdir")
    parser.add_argument("--corpus", action="append", default=[])
    options, rest = parser.parse_known_args(rest)
    if config is None and rest:
        raise UsageError(f"{rest[0]} needs a recipe before it: mmvideo doctor CONFIG …; see mmvideo doctor --help")
    experiment, workdir = None, options.workdir or "."
    if config is not None:
        find_config(config)
        check_flags(rest, f"mmvideo doctor {config}")
        with quick_imports():
            from mmvideo.experiment.config import load_experiment

            experiment = parse_fields(load_experiment(config), rest, f"mmvideo doctor {config}")
        # The same default as that of `mmvideo train`, so that the right disk is checked.
        kept = Path(config) if Path(config).is_dir() else Path("runs") / experiment.name
        workdir = options.workdir or kept
    from mmvideo.experiment.diagnostics.doctor import examine

    return _tell(examine(experiment, workdir, [_split(corpus) for corpus in options.corpus]))


def _split(corpus: str) -> tuple[str, str | None]:
    """Return the corpus and the split, if one is named; the colon of `samples:NAME` belongs to the corpus."""
    from mmvideo.datasets.corpus import SAMPLES

    # "corpora/a:test" is ("corpora/a", "test"), "samples:film" is ("samples:film", None).
    own = SAMPLES if corpus.startswith(SAMPLES) else ""
    path, _, split = corpus.removeprefix(own).partition(":")
    return own + path, split or None


def _tell(findings: Iterable[Finding]) -> int:
    """Print the findings as they come, and return the exit code."""
    failed = 0
    for finding in findings:
        number = _process()
        if number == 0 or finding.verdict != "ok":
            where = f"process {number}: " if number else ""
            # Flushed line by line: if the next check hangs, the screen shows which check passed last.
            print(f"{finding.verdict:<8} {finding.check:<11} {where}{finding.text}", flush=True)
        failed += finding.verdict == "FAILED"
    return 1 if failed else 0


def _process() -> int:
    """Return the index of this process; 0 if JAX finds no devices."""
    import jax

    try:
        return jax.process_index()
    except (RuntimeError, AssertionError):
        return 0
