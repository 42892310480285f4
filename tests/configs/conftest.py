"""What the twins of fine-tuning recipes learn from, and what must be there when they are done."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from mmvideo.datasets.build import build  # noqa: E402
from mmvideo.datasets.shapes import ScenesConfig, ShapesConfig, write_scenes  # noqa: E402
from mmvideo.experiment.config import Experiment  # noqa: E402
from mmvideo.experiment.run import run  # noqa: E402
from mmvideo.experiment.tiny import CORPUS, DENSE, SCENES  # noqa: E402
from mmvideo.input.config import Source  # noqa: E402

WRITTEN = {
    # What a recipe's evaluation must have told, by the name of its file in evals/.
    "classification": ("top1", "mAP"),
    "regression": ("mae",),
    "retrieval": ("r@1",),
    "captioning": ("cider_d",),
    "dense_captioning": ("soda_rouge_l",),
    "moments": ("r1@0.5",),
}


@pytest.fixture(scope="session")
def long(tmp_path_factory) -> dict[str, Path]:
    """The built corpora of long videos by the path that twins have, 4 videos to train on and 2 to test."""
    folder = tmp_path_factory.mktemp("long")
    config = ScenesConfig(scene=ShapesConfig(size=32, longest=4.0), shortest=8.0, longest=14.0)
    write_scenes(folder, config, splits={"train": 4, "test": 2}, processes=1)
    options = {"processes": 1, "progress": False}
    build(folder, folder / "scenes", tokenizer_vocabulary=128, **options)
    build(folder / "dense.jsonl", folder / "dense", tokenizer_vocabulary=200, time_tokens=100, **options)
    return {SCENES: folder / "scenes", DENSE: folder / "dense"}


@pytest.fixture
def finish_twin(shapes, request) -> Callable[[Experiment, Path], None]:
    """Trains a twin for two steps, evaluates and reports, and looks at what is left in the workdir."""

    def finish(tiny: Experiment, workdir: Path) -> None:
        paths = [source.path for source in tiny.input.sources]
        # Long videos take seconds to make, and few twins need them.
        found = {CORPUS: shapes} | (request.getfixturevalue("long") if {SCENES, DENSE} & set(paths) else {})
        sources = tuple(Source(str(found[source.path]), source.split) for source in tiny.input.sources)
        average = None if tiny.training.average_from is None else 1
        small = dataclasses.replace(
            tiny,
            input=dataclasses.replace(tiny.input, sources=sources),
            # CPUs have no bfloat16, and programs that make up for it take half as long again to compile.
            model=dataclasses.replace(tiny.model, compute="float32"),
            training=dataclasses.replace(tiny.training, steps=2, average_from=average),
            evaluation=dataclasses.replace(tiny.evaluation, gallery=min(tiny.evaluation.gallery, 1)),
        )
        assert run(small, workdir) == 0
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        assert [math.isfinite(line["train/loss"]) for line in lines if "train/loss" in line] == [True, True]
        told = sorted(path.stem for path in (workdir / "evals").glob("*.json"))
        assert told == sorted(tiny.evaluation.tasks)
        for task in told:
            metrics = json.loads((workdir / "evals" / f"{task}.json").read_text())["metrics"]
            assert np.isfinite([value for value in metrics.values() if value is not None]).all()
            assert any(name.rpartition("/")[2] in WRITTEN[task] for name in metrics), sorted(metrics)
        assert "<html" in (workdir / "report.html").read_text(encoding="utf-8")[:200].lower()

    return finish
