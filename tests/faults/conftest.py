"""Lets the tests of this folder import `tools/faults.py`, which has all of them at length."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
