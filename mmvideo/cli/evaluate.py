"""`mmvideo eval WORKDIR [--modalities NAME,NAME] [--evaluation.field VALUE …]`."""

from __future__ import annotations

from pathlib import Path

ABOUT = """usage: mmvideo eval WORKDIR [--modalities NAME,NAME] [--evaluation.FIELD VALUE …]

Evaluates the newest checkpoint of a run and writes evals/NAME.json, evals/NAME.predictions.jsonl
and report.html there. The fields are those of the run's config.json, for example
--evaluation.probes visual audio.

  --modalities NAME,NAME   show only these of every clip, such as video,text; what is measured is
                           written beside the rest, as evals/NAME.video+text.json
"""


def main(arguments: list[str]) -> int:
    """Parses and evaluates."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.mistakes import parse_fields, take_value
    from mmvideo.experiment.config import load_experiment
    from mmvideo.experiment.run import evaluate

    workdir, *rest = arguments
    names, rest = take_value(rest, "--modalities", "names such as video,text")
    if names is not None:
        rest = [*rest, "--evaluation.modalities", *names.split(",")]
    experiment = parse_fields(load_experiment(Path(workdir)), rest, f"mmvideo eval {workdir}")
    evaluate(experiment, Path(workdir))
    return 0
