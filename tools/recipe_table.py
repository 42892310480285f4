"""Print the figures of `mmvideo plan` for each recipe, as rows of the table in configs/README.md.

python tools/recipe_table.py configs/pretrain/*.py configs/finetune/*.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from mmvideo.experiment.config import load_experiment
from mmvideo.experiment.planning.plan import plan


def row(path: Path) -> str:
    """Return name, parameters, GFLOPs of a whole clip (dense, within spans) and in training, and FLOPs of the run."""
    found = plan(load_experiment(path))
    numbers = (
        f"{sum(found.parameters.values()) / 1e6:,.1f} M",
        *(f"{flops / 1e9:,.4g}" for flops in (found.encoder.total, found.spanned, found.forward.total)),
        f"{found.run.steps * found.run.flops:.1e}",
    )
    return f"| {path.stem} | {' | '.join(numbers)} |"


if __name__ == "__main__":
    print("| recipe | parameters | clip | within spans | training | the run |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in sys.argv[1:]:
        # The settings of a folder recipe depend on the clips.
        if Path(name).stem != "folder":
            print(row(Path(name)), flush=True)
