"""Print how far our models are from the published ones with the same weights, as a table.

COMMAND  python tools/golden/published_table.py
COST     2 cores, a minute; needs no torch: what the published code gave lies in tests/published/golden (made by
         published_models.py, released_models.py and scenic_models.py)

A figure is the largest difference relative to the largest number, in float32.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "published"))


def main() -> None:
    """Prints a row for each model and what is compared of it."""
    from families import FAMILIES, difference

    print("| model | compared | largest relative difference |\n|---|---|---:|")
    for family, compare in FAMILIES.items():
        for name, pair in compare().items():
            print(f"| {family} | {name} | {difference(*pair):.1e} |", flush=True)


if __name__ == "__main__":
    main()
