"""A suite of four tiny cells to run; one whose cells are done, failed and missing; and how a page is read."""

from __future__ import annotations

import html.parser
import importlib.util
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pytest  # noqa: E402
from handmade import BASE, JOINT, KINDS, LOSS, joint, write_run, write_state  # noqa: E402

from mmvideo.ablation.cells import cells_of  # noqa: E402
from mmvideo.ablation.suite import Claim, Published, Study, Suite, Tier, grid, named  # noqa: E402

SUITE = """
    from mmvideo.ablation.suite import Claim, Metric, Study, Suite, Tier, grid
    from mmvideo.evaluation.config import Evaluation
    from mmvideo.experiment.config import Experiment
    from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
    from mmvideo.media.config import Spectrogram
    from mmvideo.model.config import Fusion, Model
    from mmvideo.objectives import Classification
    from mmvideo.training.config import Optimizer, Training

    base = Experiment(
        name="base",
        input=Input(
            sources=(Source({corpus!r}),),
            video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
            text=None,
            packing=Packing(rows=4, tokens=32, clips=2),
            threads=1,
        ),
        model=Model(depth=2, width=16, heads=2, feed_forward=32, compute="float32", fusion=Fusion("mid", 1)),
        objectives={{"joint": Classification("joint", 2, ("video", "audio"))}},
        training=Training(
            steps={steps}, optimizer=Optimizer(warmup=1), log_every=1, save_every=5, keep=1, tensorboard=False
        ),
        evaluation=Evaluation(tasks=("losses",), gallery=0),
    )
    loss = Metric("loss", "losses", "joint/loss", higher=False)
    claim = Claim("later is better", {{"layer": "1"}}, {{"layer": "0"}}, "loss", "nobody", "E")
    study = Study("fusion", base, (grid("layer", "model.fusion.layer", [0, 1]),), (loss,), (claim,))
    tier = Tier((study,), seeds=(0, 1))
    suite = Suite("small", "A small suite", "all else", tier, tier)
"""


@pytest.fixture
def write_suite(shapes, tmp_path):
    """Writes the suite, with so many steps a cell and some words behind, and gives its folder."""

    def write(steps: int = 3, more: str = "") -> Path:
        folder = tmp_path / "small"
        folder.mkdir(exist_ok=True)
        text = textwrap.dedent(SUITE).format(corpus=str(shapes), steps=steps)
        (folder / "suite.py").write_text(text + more)
        return folder

    return write


@pytest.fixture(scope="session")
def fusion() -> Suite:
    """Two kinds at three depths with three seeds; what is claimed holds, is reversed, or can't be told."""
    claims = (
        Claim("mid is better than early", {"kind": "mid & late"}, {"kind": "early"}, "joint", "a paper, table 1", "P"),
        Claim("early loses less", {"kind": "early"}, {"kind": "mid & late"}, "loss", "a paper, table 1", "C"),
        Claim("deeper is better", {"depth": "3"}, {"depth": "1"}, "joint", "ours", "E"),
        Claim("mid is far better", {"kind": "mid & late"}, {"kind": "early"}, "joint", "ours", "E", margin=0.5),
    )
    published = (
        Published({"kind": "early"}, {"mAP": 41.5}, "a paper, table 1", "P"),
        Published({"kind": "early", "depth": "3"}, {"mAP": 43.0}, "a paper, table 1", "P"),
        Published({"kind": "nowhere"}, {"mAP": 12.25}, "a paper, table 2", "P"),
    )
    axes = (named("kind", KINDS), grid("depth", "model.depth", [1, 2, 3]))
    study = Study("kind_of fusion", BASE, axes, (JOINT, LOSS), claims, published)
    tier = Tier((study,), minutes=12, findings={"mid is better than early": "as it should be"})
    return Suite("fusion", "Fusion <of> picture & sound", "all but the kind", tier, Tier(()))


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


@pytest.fixture(scope="session")
def chosen():
    """What recipes choose, of the recipes' tests."""
    path = Path(__file__).parents[1] / "configs" / "chosen.py"
    spec = importlib.util.spec_from_file_location("chosen", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
