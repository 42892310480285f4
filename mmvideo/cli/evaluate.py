"""`mmvideo eval WORKDIR [--evaluation.field VALUE …]`."""

from __future__ import annotations

from pathlib import Path

ABOUT = """usage: mmvideo eval WORKDIR [--evaluation.FIELD VALUE …]

Evaluates the newest checkpoint of a run and writes evals/NAME.json, evals/NAME.predictions.jsonl
and report.html there. The fields are those of the run's config.json, for example
--evaluation.probes visual audio.
"""


def main(arguments: list[str]) -> int:
    """Parses and evaluates."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.mistakes import parse_fields
    from mmvideo.experiment.config import load_experiment
    from mmvideo.experiment.run import evaluate

    workdir, *rest = arguments
    experiment = parse_fields(load_experiment(Path(workdir)), rest, f"mmvideo eval {workdir}")
    evaluate(experiment, Path(workdir))
    return 0
