"""Makes the workers of the fuzzer's test importable, also for the processes that it spawns."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
