"""Train on clips whose captions are class names, and compare retrieval of distinct captions with zero-shot classes.

COMMAND  python tools/class_captions.py FOLDER
COST     2 CPU cores, two minutes; FOLDER takes 10 MB
PRINTS   for each group of media: the share of clips whose caption ranks first among the distinct captions
         (`distinct/r@1` of media to text), the top-1 accuracy of zero-shot classification, and their difference

All generated shapes except rings are kept, about 500 of them held out. Each has one of ten captions: a shape that
travels or that stays. Caption and class name are the same words, and the prompt is the bare name. Both measures then
look for the caption whose embedding is nearest to the clip's, so they can differ by rounding alone. With several
prompts per class they may differ more, because a class is then the mean of its prompts' embeddings.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mmvideo.datasets.build import build
from mmvideo.datasets.shapes.attributes import TRAVELLING
from mmvideo.datasets.shapes.config import ShapesConfig
from mmvideo.datasets.shapes.write import MANIFEST, write_shapes
from mmvideo.evaluation.config import Evaluation
from mmvideo.evaluation.results import read_result
from mmvideo.experiment import Experiment
from mmvideo.experiment.run import run
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive
from mmvideo.training.config import Optimizer, Training

CLIPS = {"train": 300, "test": 600}
GROUPS = ("video", "audio", "video+audio")
LABEL = "told"


def corpus(folder: Path) -> Path:
    """Build a corpus of shapes captioned with one of ten class names, unless it exists."""
    clips, made = folder / "clips", folder / "corpus"
    if made.is_dir():
        return made
    manifest = write_shapes(clips, ShapesConfig(size=32, difficulty=0.1, longest=1.8), CLIPS)
    kept = []
    for row in map(json.loads, manifest.read_text().splitlines()):
        shape, motion = row["labels"]["noun"], row["labels"]["verb"]
        if shape != "ring":
            told = f"a {shape} that {'travels' if motion in TRAVELLING else 'stays'}"
            kept.append(row | {"captions": [told], "labels": {LABEL: told}})
    (clips / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in kept))
    build(clips, made, tokenizer_vocabulary=60)
    return made


def experiment(made: Path) -> Experiment:
    """Return a small model that trains for a minute."""
    return Experiment(
        name="class_captions",
        input=Input(
            sources=(Source(str(made)),),
            video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
            text=Text(length=16),
            masking=Masking(video=0.0, audio=0.0, text=0.0),
            packing=Packing(rows=8, tokens=120, clips=4),
        ),
        model=Model(depth=2, width=64, heads=4, feed_forward=128, fusion=Fusion("mid", layer=1), compute="float32"),
        objectives={
            "contrastive": Contrastive(
                pairs=("video-text", "audio-text", "video+audio-text"), width=32, repeats="positives"
            )
        },
        training=Training(steps=150, optimizer=Optimizer(name="muon", learning_rate=3e-3, warmup=15), log_every=50),
        evaluation=Evaluation(tasks=("retrieval", "zero_shot"), zero_shot=(LABEL,), prompts=("{}",)),
    )


def main() -> None:
    """Print a row for each group of media."""
    folder = Path(sys.argv[1])
    run(experiment(corpus(folder)), folder / "run")
    retrieval, zero = (read_result(folder / "run" / "evals" / f"{name}.json") for name in ("retrieval", "zero_shot"))
    found, told = retrieval["metrics"], zero["metrics"]
    print("| media | clips | captions | distinct R@1 | zero-shot top-1 | apart |\n|---|---:|---:|---:|---:|---:|")
    for group in GROUPS:
        row, top = f"{group}_to_text/distinct", told[f"{LABEL}/{group}/top1"]
        first, clips, captions = (found[f"{row}/{name}"] for name in ("r@1", "clips", "gallery"))
        print(f"| {group} | {clips} | {captions} | {first:.4f} | {top:.4f} | {abs(first - top):.4f} |")


if __name__ == "__main__":
    main()
