"""What is installed of the packages that this one needs, beside the versions that it was tested with."""

from __future__ import annotations

import dataclasses
from importlib import metadata

BESIDE = ("jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu")
"""Packages that come with JAX, whose versions tell much and have no range of their own."""


@dataclasses.dataclass(frozen=True)
class Package:
    """A package.

    Attributes:
      name: as pip calls it.
      installed: its version; None where it is not there.
      tested: the range it was tested in, such as `<0.13,>=0.10.2`; empty where there is none.
      fits: whether the one lies in the other.
    """

    name: str
    installed: str | None
    tested: str
    fits: bool


def packages() -> list[Package]:
    """The packages that every run needs, and those of `BESIDE` that are there.

    Raises:
      ValueError: mmvideo itself isn't installed, so that its ranges are not known; with what to do.
    """
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in metadata.requires("mmvideo") or []]
    except metadata.PackageNotFoundError:
        raise ValueError("mmvideo is not installed, only on the path: pip install -e . tells its ranges") from None
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    found = [_compare(one.name, one.specifier) for one in needed]
    beside = [Package(name, there, "", True) for name in BESIDE if (there := installed(name)) is not None]
    return found + beside


def installed(name: str) -> str | None:
    """The version of a package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _compare(name: str, specifier) -> Package:
    there = installed(name)
    fits = there is not None and specifier.contains(there, prereleases=True)
    return Package(name, there, str(specifier), fits)
