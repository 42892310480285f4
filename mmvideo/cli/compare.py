"""`mmvideo compare RUN RUN … [--metrics PATTERN] [--out DIR] [--json]`: compare runs, config differences first."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmvideo.cli.terminal.usage_errors import Parser

ABOUT = """Compare runs: config differences, the metrics that all have, and costs. Runs that
differ only in their seeds are one column, with mean, 95 % interval and n; columns with seeds in common are compared
seed by seed."""


def main(arguments: list[str]) -> int:
    """Parse, compare and print."""
    parser = Parser(prog="mmvideo compare", description=ABOUT)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="workdirs of runs")
    parser.add_argument(
        "--metrics", metavar="PATTERN", help="pattern of metrics to show, such as 'retrieval/*' or '*top1'"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write table.md, .csv, .tex, index.html and plot.png there"
    )
    parser.add_argument("--all", action="store_true", help="print every metric, not only the headlines")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument("--quick", action="store_true", help="skip FLOPs and parameters, which take seconds")
    options = parser.parse_args(arguments)
    from mmvideo.experiment.find_config import find_run

    for run in options.runs:
        find_run(run)
    from mmvideo.ablation.compare_runs import compare

    found = compare(options.runs, options.metrics, planned=not options.quick)
    for remark in found.remarks:
        print(f"mmvideo compare: {remark}", file=sys.stderr)
    from mmvideo.ablation.pages.comparison_page import as_json, document, write_comparison
    from mmvideo.ablation.pages.markdown import markdown

    # A user who names metrics sees all of them, folded tables included.
    told = markdown(document(found), linked=False, folded=options.all or options.metrics is not None)
    print(json.dumps(as_json(found), indent=2) if options.json else told.rstrip())
    if options.out is not None:
        print(f"wrote {write_comparison(found, options.out)}", file=sys.stderr)
    return 0
