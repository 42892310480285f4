"""The meaning of a path: a recipe, a config.json or a run, found before any heavy import.

JAX, Flax and Orbax take seconds to import. A path that does not exist is reported at once, so that a typing mistake
costs no time.
"""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.json"
"""Name of the settings file in a workdir."""


class ConfigError(ValueError):
    """An invalid recipe, config.json or workdir; the message names the file, the field and the remedy."""


def find_config(path: str | Path) -> tuple[Path, str]:
    """Find the file that defines an experiment, and the name of the experiment in it.

    Args:
      path: a recipe (`.py`), where `recipe.py:tiny` selects the experiment `tiny`, a config (`.json`), or a workdir.

    Returns:
      The file, and `tiny`, or `experiment` where no name is given.

    Raises:
      ConfigError: a missing file, or one of another type.
    """
    file, name = _named(str(path))
    if file.is_dir():
        if not (file / CONFIG).is_file():
            raise ConfigError(f"{file} holds no run: it has no {CONFIG}; give a recipe, or the workdir of a run")
        file = file / CONFIG
    if not file.is_file():
        raise ConfigError(f"there is no recipe {file}; give a Python file that defines `experiment`, or a workdir")
    if file.suffix not in (".py", ".json"):
        raise ConfigError(f"{file} is neither a recipe (.py) nor a config (.json)")
    return file, name


def find_run(workdir: str | Path) -> Path:
    """Return the workdir of a run, or the folder of an export.

    Raises:
      ConfigError: the folder does not exist, or holds no run.
    """
    folder = Path(workdir)
    if folder.is_file():
        raise ConfigError(f"{folder} is a file, not a run: give the workdir of a run, such as runs/NAME")
    if not folder.is_dir():
        raise ConfigError(f"there is no run {folder}; give the workdir of one, which 'mmvideo train CONFIG' makes")
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder} holds no run: it has no {CONFIG}; give the workdir of one, such as runs/NAME")
    return folder


def _named(path: str) -> tuple[Path, str]:
    """Return a path and the name of the experiment in it: the part after the colon of a recipe, or `experiment`."""
    # "a/b.py:tiny" is ("a/b.py", "tiny"). A colon elsewhere, as in "runs/12:30/config.json", belongs to the path.
    file, colon, name = path.rpartition(":")
    if colon and file.endswith(".py") and name.isidentifier():
        return Path(file), name
    return Path(path), "experiment"
