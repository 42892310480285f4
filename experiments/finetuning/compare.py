"""Fine-tuning from the quickstart's pretraining against the same training from scratch, with seeds.

COMMAND  bash tools/quickstart.sh
         python experiments/finetuning/compare.py
COST     2 CPU cores, 20 minutes after the quickstart
EXPECTS  table.md and results.json in this folder: pretraining improves classification, retrieval and captions

Both use `configs/quickstart/finetune.py` and train for the same steps on the same clips in the same order with the same
optimiser; only `training.init_from` differs. A seed determines the new parameters and the order of clips. The held-out
clips are the quickstart's 256 test clips.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
from scipy import stats

from mmvideo.experiment import Experiment, load_experiment
from mmvideo.experiment.run import run

HERE = Path(__file__).parent
RECIPE = HERE.parents[1] / "configs" / "quickstart" / "finetune.py"

MEASURED = {
    "motion, top-1": ("classification", "motion/top1"),
    "melody and instrument, top-1": ("classification", "sound/top1"),
    "do they agree, top-1": ("classification", "agreement/top1"),
    "text→video R@1": ("retrieval", "text_to_video/r@1"),
    "text→audio R@10": ("retrieval", "text_to_audio/r@10"),
    "captions: colour, shape, motion right": ("captioning", "facts/colour+shape+motion"),
    "captions: CIDEr-D": ("captioning", "cider_d"),
}
"""Rows of the table: the evaluation and the metric of each."""


def recipe(pretrained: str | None, seed: int, steps: int) -> Experiment:
    """Return the fine-tuning of a seed, from a run or from scratch."""
    base = load_experiment(RECIPE)
    training = dataclasses.replace(base.training, steps=steps, save_every=steps, seed=seed, init_from=pretrained)
    return dataclasses.replace(
        base,
        input=dataclasses.replace(base.input, seed=seed),
        training=dataclasses.replace(training, tensorboard=False),
    )


def measured(workdir: Path) -> dict[str, float]:
    """Return the rows of the table for one run."""
    evaluations = {
        name: json.loads((workdir / "evals" / f"{name}.json").read_text())["metrics"]
        for name in {evaluation for evaluation, _ in MEASURED.values()}
    }
    return {line: evaluations[name][metric] for line, (name, metric) in MEASURED.items()}


def interval(values: list[float]) -> tuple[float, float]:
    """Return the mean and half of its 95 % interval over seeds, by Student's t; NaN for a single seed."""
    if len(values) < 2:
        return float(np.mean(values)), math.nan
    spread = np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values)), float(spread * stats.t.ppf(0.975, len(values) - 1))


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return means over seeds with their intervals, and the paired differences within seeds."""
    lines = ["| held out | pretrained | from scratch | difference |", "|---|---|---|---|"]
    for line in MEASURED:
        pairs = [(run["pretrained"][line], run["scratch"][line]) for run in results.values()]
        columns = [[a for a, _ in pairs], [b for _, b in pairs], [a - b for a, b in pairs]]
        cells = ["{:.3f} ± {:.3f}".format(*interval(values)) for values in columns]
        lines.append(f"| {line} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pretrained", default="runs/quickstart", help="the run to begin with")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--workdirs", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for seed in range(asked.seeds):
        results[str(seed)] = {}
        for name, start in (("pretrained", asked.pretrained), ("scratch", None)):
            workdir = asked.workdirs / f"{name}_{seed}"
            print(f"seed {seed}, {name}", flush=True)
            run(recipe(start, seed, asked.steps), workdir)
            results[str(seed)][name] = measured(workdir)
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "results.json").write_text(json.dumps({"steps": asked.steps, "seeds": results}, indent=1) + "\n")
    (asked.out / "table.md").write_text(table(results))
    print((asked.out / "table.md").read_text())


if __name__ == "__main__":
    main()
