"""Compare the recipe for a folder of clips with a logistic regression, on the embedded datasets as plain folders.

COMMAND  python tools/bench/folder.py [--sets film animations sounds] [--seeds 0] [--out FOLDER] [--baseline]
         [--json FILE]
COST     2 CPU cores, 12 processor minutes per seed for three datasets; the baseline alone (`--baseline`) half a minute

Each dataset becomes a folder `SPLIT/CLASS/CLIP` without a manifest, `mmvideo data build` builds a corpus from it, and
one `mmvideo train configs/finetune/folder.py` trains a classifier. The splits are those of the datasets (every fourth
clip of a class is a test clip). Only the seeds and the logging of each step are set; the last step is evaluated. The
baseline is a multinomial logistic regression on the mean frame (32 x 32 pixels) and the mean log-mel spectrum (64 bins)
of each whole clip, standardised, with its L2 penalty chosen by 4-fold cross-validation on the training clips.

The output for each dataset has the accuracies, the wall and processor seconds from the start of the command to the end
of the first step, and those of the whole run. A finished workdir is not trained again.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mmvideo.datasets.corpus import Corpus, open_corpus
from mmvideo.datasets.samples import SETS, sample_rows
from mmvideo.evaluation.tasks.probes import linear_probe
from mmvideo.media.config import Spectrogram
from mmvideo.media.decode import decode
from mmvideo.media.spectrogram import spectrogram

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "configs" / "finetune" / "folder.py"
MMVIDEO = [sys.executable, "-m", "mmvideo.cli.main"]

SIDE = 32
"""Side of the baseline's mean frame, in pixels."""

HEARD = Spectrogram(kind="log_mel", bins=64, mean=0.0, deviation=1.0)
"""The baseline's spectrogram."""

PENALTIES = tuple(10.0**power for power in range(-3, 4))
"""L2 penalties from which the baseline chooses."""


def make_folder(name: str, out: Path) -> Path:
    """Write an embedded dataset as a folder `SPLIT/CLASS/CLIP`; return the folder."""
    folder = out / name
    for row in sample_rows(name):
        place = folder / row.split / str(row.labels["label"])
        place.mkdir(parents=True, exist_ok=True)
        if not (place / row.media.name).exists():
            shutil.copyfile(row.media, place / row.media.name)
    return folder


def build_corpus(folder: Path) -> Path:
    """Build the corpus of a folder by the command; return it."""
    corpus = folder.with_name(f"{folder.name}_corpus")
    subprocess.run([*MMVIDEO, "data", "build", str(folder), str(corpus)], check=True)
    return corpus


def features(corpus: Corpus) -> np.ndarray:
    """Return mean frame and mean log-mel spectrum of each clip, zeros for a missing modality, `[n, D]`."""
    rows = []
    for number in range(len(corpus)):
        clip = decode(corpus[number].media, size=(SIDE, SIDE), sample_rate=HEARD.sample_rate)
        frame = np.zeros((SIDE, SIDE, 3)) if clip.frames is None else clip.frames.mean(axis=0) / 255
        heard = clip.samples is not None and len(clip.samples) > 0
        spectrum = spectrogram(clip.samples, HEARD).mean(axis=0) if heard else np.zeros(HEARD.bins)
        rows.append(np.concatenate([frame.ravel(), spectrum]))
    return np.stack(rows)


def baseline(corpus: Path) -> dict[str, float]:
    """Return the metrics of the logistic regression."""
    splits = [open_corpus(corpus, split) for split in ("train", "test")]
    (train, known), (test, asked) = ((features(one), np.asarray(one.table.labels["label"])) for one in splits)
    return linear_probe(train, known, test, asked, PENALTIES).metrics


def trained(corpus: Path, workdir: Path, seed: int) -> dict[str, Any]:
    """Train by the command unless the run is finished; return the metrics of the test clips and the cost."""
    evaluated, kept = workdir / "evals" / "classification.json", workdir / "bench.json"
    if not kept.exists():
        seeds = ["--training.seed", str(seed), "--input.seed", str(seed), "--training.log-every", "1"]
        command = [*MMVIDEO, "train", str(RECIPE), "--input.sources.0.path", str(corpus), "--workdir", str(workdir)]
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(_timed([*command, *seeds])))
    metrics = json.loads(evaluated.read_text())["metrics"]
    return {"top1": metrics["label/top1"], "clips": metrics["label/clips"]} | json.loads(kept.read_text())


def _timed(command: list[str]) -> dict[str, float]:
    """Run a training; return wall and processor seconds to its first step and to its end."""
    found: dict[str, float] = {}
    before, start = _processor(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if re.match(r"(first step|step 1/)", line) and "first" not in found:
            found["first"] = time.monotonic() - start
            found["first_processor"] = _processor_of(process.pid)
    if process.wait() != 0:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return found | {"seconds": time.monotonic() - start, "processor": _processor() - before}


def _processor() -> float:
    """Return the processor seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _processor_of(pid: int) -> float:
    """Return the processor seconds of a running process if the system reports them, else NaN."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("nan")
    return (int(fields[11]) + int(fields[12])) / 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/folder"), help="folder for clips, corpora and runs")
    parser.add_argument("--baseline", action="store_true", help="the logistic regression alone")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    out, figures = options.out.absolute(), {}
    for name in options.sets:
        corpus = build_corpus(make_folder(name, out))
        figures[name] = {"baseline": baseline(corpus), "runs": {}}
        for seed in [] if options.baseline else options.seeds:
            figures[name]["runs"][seed] = trained(corpus, out / "runs" / f"{name}_{seed}", seed)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print(f"{'set':<12}{'test clips':>11}{'most frequent':>15}{'regression':>12}  recipe, by seed")
    for name, found in figures.items():
        own = found["baseline"]
        runs = "  ".join(f"{run['top1']:.3f}" for run in found["runs"].values())
        print(f"{name:<12}{own['clips']:>11.0f}{own['chance']:>15.3f}{own['accuracy']:>12.3f}  {runs}")
        for seed, run in found["runs"].items():
            print(f"  seed {seed}: {', '.join(f'{key} {value:.1f}' for key, value in run.items())}")


if __name__ == "__main__":
    main()
