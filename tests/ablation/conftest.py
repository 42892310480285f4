"""A suite whose cells are done, failed and missing, and how a page is read."""

from __future__ import annotations

import html.parser
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest  # noqa: E402
from handmade import BASE, JOINT, KINDS, LOSS, joint, write_run, write_state  # noqa: E402

from mmvideo.ablation.cells import cells_of  # noqa: E402
from mmvideo.ablation.suite import Claim, Published, Study, Suite, Tier, grid, named  # noqa: E402


@pytest.fixture(scope="session")
def fusion() -> Suite:
    """Two kinds at three depths with three seeds; what is claimed holds, is reversed, or can't be told."""
    claims = (
        Claim("mid is better than early", {"kind": "mid & late"}, {"kind": "early"}, "joint", "a paper, table 1", "P"),
        Claim("early loses less", {"kind": "early"}, {"kind": "mid & late"}, "loss", "a paper, table 1", "C"),
        Claim("deeper is better", {"depth": "3"}, {"depth": "1"}, "joint", "ours", "M"),
        Claim("mid is far better", {"kind": "mid & late"}, {"kind": "early"}, "joint", "ours", "M", margin=0.5),
    )
    published = (
        Published({"kind": "early"}, {"mAP": 41.5}, "a paper, table 1", "P"),
        Published({"kind": "early", "depth": "3"}, {"mAP": 43.0}, "a paper, table 1", "P"),
        Published({"kind": "nowhere"}, {"mAP": 12.25}, "a paper, table 2", "M"),
    )
    axes = (named("kind", KINDS), grid("depth", "model.depth", [1, 2, 3]))
    study = Study("kind_of fusion", BASE, axes, (JOINT, LOSS), claims, published)
    return Suite("fusion", "Fusion <of> picture & sound", "all but the kind", Tier((study,), minutes=12), Tier(()))


@pytest.fixture(scope="session")
def folder(fusion, tmp_path_factory) -> Path:
    """All cells done but one that failed and one that is not there; another lacks a metric."""
    folder = tmp_path_factory.mktemp("fusion")
    for cell in cells_of(fusion.toy):
        kind, depth = cell.labels["kind"], int(cell.labels["depth"])
        key = (kind, depth, cell.seed)
        if key == ("early", 1, 2):
            write_state(folder, cell.place, "failed", "NonFiniteError: a | loss of <nan>")
        elif key != ("early", 2, 2):
            value = joint(kind, depth, cell.seed)
            loss = None if key == ("mid & late", 3, 1) else 2 - value
            found = {"classification": {"joint/top1": value, "joint/clips": 40}, "losses": {"loss": loss}}
            write_run(folder / "cells" / cell.place, cell.experiment, found)
            write_state(folder, cell.place)
    return folder


class _Page(html.parser.HTMLParser):
    """Addresses of a page; every element is closed where it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()


@pytest.fixture(scope="session")
def addresses():
    """The addresses of a page that is well-formed."""

    def read(text: str) -> list[str]:
        page = _Page()
        page.feed(text)
        page.close()
        assert not page.open, f"left open: {page.open}"
        return page.addresses

    return read
