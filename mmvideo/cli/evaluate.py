"""`mmvideo eval WORKDIR [--step STEP] [--dataset CORPUS] [--tasks NAMES] [--modalities NAMES] [--field VALUE …]`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmvideo.experiment.config import Experiment

ABOUT = """usage: mmvideo eval WORKDIR [--dataset CORPUS[:SPLIT]] [--tasks NAME,NAME] [--modalities NAME,NAME]
                    [--step STEP|best] [--evaluation.FIELD VALUE …]

Evaluate the newest checkpoint of a run or an export, and write evals/NAME.json,
evals/NAME.predictions.jsonl and report.html there. The fields are those of the run's config.json, for example
--evaluation.probes visual audio.

  --dataset CORPUS[:SPLIT] other clips than the run's own: a corpus, or samples:NAME, and a split of it (default:
                           its test or validation split); written as evals/NAME@CORPUS.json
  --tasks NAME,NAME        only these: retrieval, zero_shot, classification, regression, captioning,
                           dense_captioning, question_answering, moments, losses, probes
  --modalities NAME,NAME   show only these of every clip, such as video,text; results are written
                           beside the others, as evals/NAME.video+text.json
  --modalities each        evaluate with all modalities, then with every group of them alone, and
                           print the table of each modality's gain
  --step STEP|best         the checkpoint of that step, or the one that training.best marks
"""


def main(arguments: list[str]) -> int:
    """Parse and evaluate."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.importing import quick_imports
    from mmvideo.cli.terminal.field_names import check_flags
    from mmvideo.cli.terminal.usage_errors import parse_fields, parse_step, take_first, take_value
    from mmvideo.experiment.find_config import find_run

    workdir, rest = take_first(arguments, "mmvideo eval WORKDIR", "the workdir of a run")
    names, rest = take_value(rest, "--modalities", "names such as video,text")
    # --modalities video,text is short for --evaluation.modalities video text.
    if names is not None and names != "each":
        rest = [*rest, "--evaluation.modalities", *names.split(",")]
    tasks, rest = take_value(rest, "--tasks", "names such as retrieval,captioning")
    if tasks is not None:
        rest = [*rest, "--evaluation.tasks", *tasks.split(",")]
    step, rest = take_value(rest, "--step", "the step of a checkpoint, or best")
    corpus, rest = take_value(rest, "--dataset", "a corpus, such as corpora/clips or corpora/clips:test")
    find_run(workdir)
    step = parse_step(step)
    check_flags(rest, f"mmvideo eval {workdir}")
    from mmvideo.experiment.input_checks import check_platform, check_source

    with quick_imports():
        check_platform()
        from mmvideo.experiment.config import load_experiment

        experiment = parse_fields(load_experiment(Path(workdir)), rest, f"mmvideo eval {workdir}")
    for place, source in enumerate(() if corpus is not None else experiment.evaluation.sources or ()):
        check_source(source.path, source.split, f"evaluation.sources.{place}")
    from mmvideo.experiment.evaluators import held_out_source
    from mmvideo.experiment.run import evaluate
    from mmvideo.experiment.weights.verified_config import check_config

    check_config(workdir, step)
    if names == "each":
        experiment = _with_each(experiment)
    dataset = None
    if corpus is not None:
        source = held_out_source(corpus)
        experiment = dataclasses.replace(
            experiment, evaluation=dataclasses.replace(experiment.evaluation, sources=(source,))
        )
        # corpora/films/ is called films, samples:film is called film.
        dataset = source.path.removeprefix("samples:").rstrip("/").rpartition("/")[2]
    evaluate(experiment, Path(workdir), dataset, step)
    return 0


def _with_each(experiment: Experiment) -> Experiment:
    """Return the experiment with an evaluation of every group of its modalities."""
    from mmvideo.evaluation.report.modality_gains import subsets
    from mmvideo.stream import MODALITIES

    there = [name for name in MODALITIES if getattr(experiment.input, name) is not None]
    wanted = dataclasses.replace(experiment.evaluation, modalities=None, subsets=subsets(there))
    return dataclasses.replace(experiment, evaluation=wanted)
