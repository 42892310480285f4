"""A suite of four tiny cells on the tests' sounding shapes."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

SUITE = """
    from mmvideo.ablation.suite import Claim, Metric, Study, Suite, Tier, grid
    from mmvideo.evaluation.config import Evaluation
    from mmvideo.experiment.config import Experiment
    from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
    from mmvideo.media.config import Spectrogram
    from mmvideo.model.config import Fusion, Model
    from mmvideo.objectives import Classification
    from mmvideo.training.config import Optimizer, Training

    base = Experiment(
        name="base",
        input=Input(
            sources=(Source({corpus!r}),),
            video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
            text=None,
            packing=Packing(rows=4, tokens=32, clips=2),
            threads=1,
        ),
        model=Model(depth=2, width=16, heads=2, feed_forward=32, compute="float32", fusion=Fusion("mid", 1)),
        objectives={{"joint": Classification("joint", 2, ("video", "audio"))}},
        training=Training(
            steps={steps}, optimizer=Optimizer(warmup=1), log_every=1, save_every=5, keep=1, tensorboard=False
        ),
        evaluation=Evaluation(tasks=("losses",), gallery=0),
    )
    loss = Metric("loss", "losses", "joint/loss", higher=False)
    claim = Claim("later is better", {{"layer": "1"}}, {{"layer": "0"}}, "loss", "nobody", "M")
    study = Study("fusion", base, (grid("layer", "model.fusion.layer", [0, 1]),), (loss,), (claim,))
    tier = Tier((study,), seeds=(0, 1))
    suite = Suite("small", "A small suite", "all else", tier, tier)
"""


@pytest.fixture
def write_suite(shapes, tmp_path):
    """Writes the suite, with so many steps a cell and some words behind, and gives its folder."""

    def write(steps: int = 3, more: str = "") -> Path:
        folder = tmp_path / "small"
        folder.mkdir(exist_ok=True)
        text = textwrap.dedent(SUITE).format(corpus=str(shapes), steps=steps)
        (folder / "suite.py").write_text(text + more)
        return folder

    return write
