"""`mmvideo report WORKDIR`: write the page of a run again, from the files in its workdir."""

from __future__ import annotations

from pathlib import Path

from mmvideo.cli.terminal.usage_errors import Parser


def main(arguments: list[str]) -> int:
    """Parse and write the page."""
    parser = Parser(prog="mmvideo report", description="Write a run's report.html again.")
    parser.add_argument("workdir", type=Path, help="folder of the run")
    options = parser.parse_args(arguments)
    from mmvideo.experiment.find_config import find_run

    find_run(options.workdir)
    from mmvideo.experiment.reports.run_report import report
    from mmvideo.experiment.weights.verified_config import load_run

    print(f"wrote {report(load_run(options.workdir), options.workdir)}")
    return 0
