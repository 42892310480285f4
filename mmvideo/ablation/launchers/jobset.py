"""Cells as JobSets of Kubernetes: a manifest a run, filled into one that the cluster is known to take."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmvideo.experiment.config import ConfigError


def write_jobsets(folder: Path, places: Sequence[str], manifest: Path) -> list[Path]:
    """Writes `FOLDER/jobsets/PLACE.yaml` for each run.

    Name, command and arguments are replaced; image, devices and volumes stay what they are. The folder must be one that
    the pods see under the same path.

    Args:
      folder: of the tier.
      places: of the runs.
      manifest: a JobSet whose container has `command: [...]` and `args: [...]`, each on a line.

    Raises:
      ConfigError: there is no such file, or it lacks what is to be replaced.
    """
    if not manifest.is_file():
        raise ConfigError(f"there is no manifest {manifest}; take tools/launch/jobset_gpu.yaml")
    text = manifest.read_text(encoding="utf-8")
    return [_write(folder / "jobsets" / f"{place}.yaml", text, folder, place, manifest) for place in places]


def _write(path: Path, text: str, folder: Path, place: str, manifest: Path) -> Path:
    # Names of Kubernetes are lower-case words with dashes, of 63 letters with what JobSet adds.
    name = re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-")[:40].strip("-")
    for pattern, new in (
        (r"^  name: .*$", f"  name: {name}"),
        (r"^( *)command: \[.*\]$", r"\1command: [python, -m, mmvideo.ablation.worker]"),
        (r"^( *)args: \[.*\]$", rf"\1args: [{folder.absolute()}, {place}]"),
    ):
        text, count = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
        if count == 0:
            raise ConfigError(f"{manifest} has no line like {pattern}; take tools/launch/jobset_gpu.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
