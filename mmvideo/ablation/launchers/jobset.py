"""The manifests of Kubernetes JobSets: one per run, filled into a template that the cluster accepts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mmvideo.experiment.config import ConfigError


def write_jobsets(folder: Path, places: Sequence[str], manifest: Path) -> list[Path]:
    """Write `FOLDER/jobsets/PLACE.yaml` for each run.

    Name, command and arguments are replaced; image, devices and volumes stay as in the template. Pods must see the
    folder under the same path.

    Args:
      folder: folder of the tier.
      places: run folder names.
      manifest: JobSet whose container has `command: [...]` and `args: [...]`, each on one line.

    Raises:
      ConfigError: the template is missing, or lacks a line to replace.
    """
    if not manifest.is_file():
        raise ConfigError(f"there is no manifest {manifest}; take tools/launch/jobset_gpu.yaml")
    text = manifest.read_text(encoding="utf-8")
    return [_write(folder / "jobsets" / f"{place}.yaml", text, folder, place, manifest) for place in places]


def _write(path: Path, text: str, folder: Path, place: str, manifest: Path) -> Path:
    """Write one manifest."""
    # Kubernetes allows lower-case words with dashes, of at most 63 characters with JobSet's suffixes: "mbt_mid_s0"
    # becomes "mbt-mid-s0", and the cut to 40 leaves room for the suffixes.
    name = re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-")[:40].strip("-")
    for pattern, new in (
        (r"^  name: .*$", f"  name: {name}"),
        (r"^( *)command: \[.*\]$", r"\1command: [python, -m, mmvideo.ablation.worker]"),
        (r"^( *)args: \[.*\]$", rf"\1args: [{folder.absolute()}, {place}]"),
    ):
        # As text, not as parsed YAML, so that comments and formatting of the cluster's template stay.
        text, count = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
        if count == 0:
            raise ConfigError(f"{manifest} has no line like {pattern}; take tools/launch/jobset_gpu.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
