"""A small corpus of shapes, and a small learner on it; and how a page is read."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess

import pytest
from flax import nnx

from mmvideo.datasets.build import build
from mmvideo.datasets.shapes import ShapesConfig
from mmvideo.datasets.shapes.write import write_shapes
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Decoder, Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches, Matching
from mmvideo.objectives.learner import Learner


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> str:
    """Fourteen training clips and nine test clips with video, audio and text."""
    folder = tmp_path_factory.mktemp("shapes")
    write_shapes(
        folder / "clips", ShapesConfig(size=32, shortest=1.6, longest=1.8), {"train": 14, "test": 9}, processes=1
    )
    build(folder / "clips", folder / "corpus", processes=1, tokenizer_vocabulary=60, progress=False)
    return str(folder / "corpus")


@pytest.fixture(scope="session")
def config(corpus) -> Input:
    return Input(
        sources=(Source(corpus, "test"),),
        video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
        audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
        text=Text(length=16),
        masking=Masking(video=0.5, video_kind="random", audio=0.5),
        packing=Packing(rows=4, tokens=80, clips=3),
        threads=1,
        prefetch=2,
    )


@pytest.fixture(scope="session")
def batches(config) -> Batches:
    return Batches(config, masked=False, train=False)


@pytest.fixture(scope="session")
def learner(batches) -> Learner:
    model = Model(
        depth=2, width=32, heads=2, feed_forward=64, fusion=Fusion("mid", layer=1), compute="float32",
        decoder=Decoder(1, 16, 2),
    )  # fmt: skip
    objectives = {"contrastive": Contrastive(width=16), "masked_patches": MaskedPatches(target="raw")}
    return Learner(model, batches.spec, objectives, rngs=nnx.Rngs(0))


@pytest.fixture(scope="session")
def matcher(batches) -> Learner:
    """A learner that compares single and joint media with text, and judges pairs of them."""
    model = Model(depth=2, width=32, heads=2, feed_forward=64, fusion=Fusion("mid", layer=1), compute="float32")
    objectives = {
        "contrastive": Contrastive(pairs=("video-text", "audio-text", "video+audio-text"), width=16),
        "matching": Matching("video+audio-text"),
    }
    return Learner(model, batches.spec, objectives, rngs=nnx.Rngs(1))


_VOID = {"meta", "img", "br", "link"}


class _Page(html.parser.HTMLParser):
    """Parser that collects elements, and fails unless every element is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.sections: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.addresses += [named[key] for key in ("src", "href", "poster", "data", "srcset") if named.get(key)]
        if tag == "section":
            self.sections.append(named["id"])
        if tag == "a":
            self.links.append(named["href"])
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)


@pytest.fixture(scope="session")
def parse():
    """Parse a page or a part of one."""

    def read(text: str) -> _Page:
        parsed = _Page()
        parsed.feed(text)
        parsed.close()
        assert not parsed.open, f"left open: {parsed.open}"
        return parsed

    return read


@pytest.fixture
def browsed(tmp_path):
    """Return Chromium's findings on a page: images that don't decode, flat sections, requests, excess width."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for path in map(shutil.which, names) if path), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")

    def browse(path) -> str:
        probe = (
            "<script>window.addEventListener('load',function(){"
            "var r=[...document.images].filter(i=>!i.naturalWidth).length;"
            "var s=[...document.querySelectorAll('section')].filter(x=>x.offsetHeight<40).length;"
            "var n=performance.getEntriesByType('resource').filter(e=>!e.name.startsWith('data:')).length;"
            "document.title='broken='+r+' flat='+s+' asked='+n+' wide='+"
            "(document.documentElement.scrollWidth>document.documentElement.clientWidth)})</script>"
        )
        path.write_text(path.read_text().replace("</body>", probe + "</body>"))
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1280,900", "--dump-dom"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        return re.search("<title>(.*?)</title>", shown)[1]

    return browse
