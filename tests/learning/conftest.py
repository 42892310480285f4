"""Lets the tests of this folder import the loop they share, and the streams of the objectives' tests."""

import sys
from pathlib import Path

here = Path(__file__).parent
sys.path[:0] = [str(here), str(here.parent / "objectives")]
