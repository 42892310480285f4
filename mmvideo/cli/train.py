"""`mmvideo train CONFIG [--workdir DIR] [--field.path VALUE …]`."""

from __future__ import annotations

from pathlib import Path

ABOUT = """usage: mmvideo train CONFIG [--workdir DIR] [--field.path VALUE …]

Trains the experiment that CONFIG defines: a Python file (recipe.py:tiny takes what it calls `tiny`), or a
workdir or its config.json.
The same command again resumes a stopped run. `mmvideo train CONFIG --help` lists every field of it.

  --workdir DIR   where the run is kept (default: runs/NAME)
"""


def main(arguments: list[str]) -> int:
    """Parses, resolves the experiment and runs it."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.mistakes import UsageError, parse_fields, take_value
    from mmvideo.experiment.config import load_experiment

    config, *rest = arguments
    if config.startswith("-"):
        raise UsageError(f"the recipe comes first: mmvideo train CONFIG …, not {config}")
    folder, rest = take_value(rest, "--workdir", "a folder")
    experiment = parse_fields(load_experiment(config), rest, f"mmvideo train {config}")
    from mmvideo.experiment.run import run

    if folder is not None:
        return run(experiment, Path(folder))
    return run(experiment, Path(config) if Path(config).is_dir() else Path("runs") / experiment.name)
