"""Print a table of differences between our models and the published ones with the same weights.

COMMAND  python tools/golden/published_table.py
COST     2 cores, a minute; needs no torch: the outputs of the published code are in tests/published/golden (written
         by published_models.py, released_models.py and scenic_models.py)

A figure is the largest difference relative to the largest value, in float32.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "published"))


def main() -> None:
    """Print a row for each compared output of each model."""
    from families import FAMILIES, difference

    print("| model | compared | largest relative difference |\n|---|---|---:|")
    for family, compare in FAMILIES.items():
        for name, pair in compare().items():
            print(f"| {family} | {name} | {difference(*pair):.1e} |", flush=True)


if __name__ == "__main__":
    main()
