"""`mmvideo report WORKDIR`: the page of a run, written again from what lies in its workdir."""

from __future__ import annotations

from pathlib import Path

from mmvideo.cli.mistakes import Parser


def main(arguments: list[str]) -> int:
    """Parses and writes the page."""
    parser = Parser(prog="mmvideo report", description="Write a run's report.html again.")
    parser.add_argument("workdir", type=Path, help="folder of the run")
    options = parser.parse_args(arguments)
    from mmvideo.experiment.named import find_run

    find_run(options.workdir)
    from mmvideo.experiment.opened import load_run
    from mmvideo.experiment.report import report

    print(f"wrote {report(load_run(options.workdir), options.workdir)}")
    return 0
