"""Write the shardings of the pretraining recipes' parameters on a mesh, for tests/configs/test_shardings.py.

COMMAND  python tools/golden/shardings.py
COST     1 core, half a minute; nothing is computed

A change of `mmvideo/parallel/rules.py`, or of the axes that a parameter names, then appears in review as a change of
tests/configs/golden/shardings/. To print the sharding of one recipe:

    mmvideo plan configs/pretrain/NAME.py --devices 8 --mesh data=2,fsdp=2,tensor=2 --layout
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mmvideo.experiment.config import load_experiment
from mmvideo.experiment.planning.plan import parameter_layout
from mmvideo.parallel.config import Mesh

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Write a file for each recipe."""
    for recipe in sorted((ROOT / "configs" / "pretrain").glob("*.py")):
        experiment = dataclasses.replace(load_experiment(recipe), mesh=Mesh(data=2, fsdp=2, tensor=2))
        golden = ROOT / "tests" / "configs" / "golden" / "shardings" / f"{recipe.stem}.txt"
        golden.write_text(parameter_layout(experiment), encoding="utf-8")
        print(golden.relative_to(ROOT))


if __name__ == "__main__":
    main()
