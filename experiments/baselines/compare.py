"""The transformer against CNN and LSTM baselines on sounding shapes, at an equal number of training FLOPs.

COMMAND  mmvideo data shapes corpora/compare/clips --train 6000 --test 800 --size 32 --difficulty 0 --longest 2
         mmvideo data build corpora/compare/clips corpora/compare/shapes --tokenizer-vocabulary 256
         python experiments/baselines/compare.py
COST     2 CPU cores, half an hour
EXPECTS  table.md, results.json and plot.png in this folder: the transformer is best on `joint` and on retrieval

There are two suites. In `joint` the clips have video and audio but no captions, which would give away the answer. In
`retrieval` they also have captions, and the contrastive objective is added. Within a suite every model sees the same
streams of clips, learns the same objectives with the same optimiser, and is trained by the same trainer until it has
used as many FLOPs as the others, forward and backward, as `mmvideo plan` counts them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment import Experiment
from mmvideo.experiment.planning.plan import plan
from mmvideo.experiment.run import run
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.model.kinds import CnnLstm, FrameLstm
from mmvideo.objectives import Classification, Contrastive
from mmvideo.training.config import Optimizer, Training

HERE = Path(__file__).parent
TEXT_PIECES = 256
PAIRS = ("video-text", "audio-text", "video-audio")
BOTH = ("video", "audio")
SMALL = dict(channels=(16, 32, 64), width=96, word=96, dense=(128, 64, 64), dropout=0.1, compute="float32")

MODELS = {
    "transformer": Model(
        depth=3, width=96, heads=4, feed_forward=384, compute="float32", position="sincos", fusion=Fusion("mid", 2)
    ),
    "CNN + LSTM, late fusion": CnnLstm(**SMALL),
    "CNN + LSTM over time": FrameLstm(**SMALL),
}


SUITES = {"joint": 240, "retrieval": 500}
"""Steps of the transformer in each suite; its FLOPs determine the steps of the other models."""


def recipe(suite: str, name: str, corpus: str, steps: int) -> Experiment:
    """Return the experiment of a model; within a suite only model and steps differ."""
    words = suite == "retrieval"
    contrastive = Contrastive(pairs=PAIRS, pair_weights=(2.0, 1.0, 1.0), width=64)
    sound = Spectrogram(kind="log_mel", window_seconds=0.04, hop_seconds=0.02, bins=64, mean=-1.1, deviation=1.5)
    return Experiment(
        name=name,
        input=Input(
            sources=(Source(corpus),),
            video=Video(fps=12.0, frames=24, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=2.0, spectrogram=sound, patch=(10, 64)),
            text=Text(length=32, vocabulary=TEXT_PIECES) if words else None,
            packing=Packing(rows=32, tokens=160 if words else 116, clips=2),
            threads=1,
        ),
        model=MODELS[name],
        objectives={
            "joint": Classification("joint", 2, BOTH),
            "visual": Classification("visual", 6, BOTH),
            "audio": Classification("audio", 16, BOTH),
        }
        | ({"contrastive": contrastive} if words else {}),
        training=Training(
            steps=steps,
            optimizer=Optimizer(name="muon", learning_rate=3e-3, warmup=max(1, steps // 20)),
            log_every=max(1, steps // 40),
            save_every=steps,
            tensorboard=False,
        ),
        evaluation=Evaluation(retrieval=words, probes=(), losses=True),
    )


def measured(suite: str, workdir: Path) -> dict[str, float]:
    """Return the held-out accuracies or recalls of a run."""
    if suite == "joint":
        losses = json.loads((workdir / "evals" / "losses.json").read_text())["metrics"]
        return {label: losses[f"{label}/accuracy"] for label in ("joint", "visual", "audio")}
    retrieval = json.loads((workdir / "evals" / "retrieval.json").read_text())["metrics"]
    return {
        f"{direction}/{k}": retrieval[f"{direction}/{k}"]
        for direction in ("text_to_video", "text_to_audio", "video_to_audio")
        for k in ("r@1", "r@10", "mean_rank")
    }


def curve(workdir: Path, flops: float) -> list[tuple[float, float]]:
    """Return FLOPs spent and accuracy on `joint` during training, one entry per log line."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"] * flops, line["train/joint/accuracy"]) for line in lines if "train/joint/accuracy" in line]


COLUMNS = {
    "joint": {"joint": "joint", "visual": "visual", "audio": "audio"},
    "retrieval": {
        "text_to_video/r@1": "text→video R@1",
        "text_to_video/r@10": "R@10",
        "text_to_audio/r@1": "text→audio R@1",
        "text_to_audio/r@10": "R@10",
    },
}


def table(suite: str, results: dict[str, dict]) -> str:
    """Return the results of a suite as Markdown."""
    head = [suite, "parameters", "TFLOPs", "steps", *COLUMNS[suite].values()]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, found in results.items():
        cells = [name, f"{found['parameters'] / 1e6:.2f} M", f"{found['flops'] / 1e12:.1f}", f"{found['steps']:,}"]
        lines.append("| " + " | ".join(cells + [f"{found['metrics'][key]:.3f}" for key in COLUMNS[suite]]) + " |")
    return "\n".join(lines) + "\n"


def draw(results: dict[str, dict[str, dict]], path: Path) -> None:
    """Plot accuracy on `joint` against FLOPs spent, and the final retrieval results."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, found in results["joint"].items():
        spent, accuracy = np.array(found["curve"]).T
        smooth = np.convolve(np.pad(accuracy, 2, mode="edge"), np.ones(5) / 5, mode="valid")
        left.plot(spent / 1e12, smooth, label=name)
    left.axhline(0.5, color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="training TFLOPs", ylabel="accuracy on joint, training clips", ylim=(0.4, 1.02))
    left.legend(frameon=False)
    directions = {"text_to_video": "text → video", "text_to_audio": "text → audio", "video_to_audio": "video → audio"}
    place, width = np.arange(len(directions)), 0.8 / len(MODELS)
    for number, found in enumerate(results["retrieval"].values()):
        heights = [found["metrics"][f"{direction}/r@10"] for direction in directions]
        right.bar(place + (number - 1) * width, heights, width)
    right.set_xticks(place, directions.values())
    right.set(ylabel="R@10, 800 held-out clips", ylim=(0, 1))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def compare(suite: str, corpus: str, steps: int, workdirs: Path) -> dict[str, dict]:
    """Train every model of a suite with the FLOPs that the transformer needs for this many steps."""
    plans = {name: plan(recipe(suite, name, corpus, steps)) for name in MODELS}
    budget, results = steps * plans["transformer"].run.flops, {}
    for name, planned in plans.items():
        own = max(2, round(budget / planned.run.flops))
        workdir = workdirs / suite / name.replace(" ", "_").replace(",", "")
        print(f"{suite}, {name}: {own} steps of {planned.run.flops / 1e9:.1f} GFLOPs", flush=True)
        run(recipe(suite, name, corpus, own), workdir)
        results[name] = {
            "steps": own,
            "flops": own * planned.run.flops,
            "parameters": sum(planned.parameters.values()),
            "metrics": measured(suite, workdir),
            "curve": curve(workdir, planned.run.flops),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", default="corpora/compare/shapes")
    parser.add_argument("--workdirs", type=Path, default=Path("runs/compare"))
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES), help="the others' results stay")
    parser.add_argument("--out", type=Path, default=HERE)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "results.json"
    results = json.loads(kept.read_text()) if kept.is_file() else {}
    for suite in asked.suites:
        results[suite] = compare(suite, asked.corpus, SUITES[suite], asked.workdirs)
        kept.write_text(json.dumps(results, indent=1) + "\n")
    (asked.out / "table.md").write_text("\n".join(table(suite, found) for suite, found in results.items()))
    if set(results) == set(SUITES):
        draw(results, asked.out / "plot.png")
    print((asked.out / "table.md").read_text())


if __name__ == "__main__":
    main()
