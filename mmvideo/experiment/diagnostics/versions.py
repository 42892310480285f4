"""Installed versions of the required packages, beside the tested ranges."""

from __future__ import annotations

import dataclasses
from importlib import metadata

BESIDE = ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu")
"""Packages that come with JAX: their versions are informative and have no range of their own."""


@dataclasses.dataclass(frozen=True)
class Package:
    """An installed or missing package.

    Attributes:
      name: name in pip.
      installed: installed version; None if missing.
      tested: tested range, such as `<0.13,>=0.10.2`; empty where there is none.
      fits: whether the installed version is in the range.
    """

    name: str
    installed: str | None
    tested: str
    fits: bool


def packages() -> list[Package]:
    """Return the packages that every run needs, and the installed ones of `BESIDE`.

    Raises:
      ValueError: mmvideo itself is not installed, so that its ranges are unknown.
    """
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in metadata.requires("mmvideo") or []]
    except metadata.PackageNotFoundError:
        raise ValueError(
            "mmvideo is not installed, only on the path, so its version ranges are unknown: pip install -e ."
        ) from None
    # Requirements of extras, such as mmvideo[slurm], have a marker that an empty extra does not satisfy.
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    found = [_compare(one.name, one.specifier) for one in needed]
    beside = [Package(name, there, "", True) for name in BESIDE if (there := installed(name)) is not None]
    return found + beside


def installed(name: str) -> str | None:
    """Return the version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _compare(name: str, specifier) -> Package:
    """Return the package with its version and range."""
    there = installed(name)
    # A development build of JAX, such as 0.11.0.dev20261101, counts as inside its range.
    fits = there is not None and specifier.contains(there, prereleases=True)
    return Package(name, there, str(specifier), fits)
