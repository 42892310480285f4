"""The page of a corpus holds everything it shows."""

from __future__ import annotations

import base64
import re

import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.corpus import Corpus, CorpusError, open_corpus
from mmvideo.datasets.inspect_corpus import inspect, make_card
from mmvideo.datasets.inspection_page import render
from mmvideo.datasets.manifests.manifest import ManifestError


@pytest.fixture(scope="module")
def folder(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus") / "out"
    build(clips, out, processes=1)
    return out


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    path = inspect(folder, "train", tmp_path_factory.mktemp("page") / "deep" / "page.html", clips=24)
    return path.read_text(encoding="utf-8")


def test_every_clip_has_a_card_with_what_it_has(page):
    cards = re.findall(r"<article.*?</article>", page, re.S)
    assert len(cards) == 5
    by_id = {re.search(r"<code>(.*?)</code>", card)[1]: card for card in cards}
    assert set(by_id) == {"clip0", "clip1", "clip2", "clip4", "clip5"}
    for name, card in by_id.items():
        assert ("no sound" in card) == (name == "clip2")
        assert ("no picture" in card) == (name == "clip5")
        assert ("<video" in card) == (name != "clip5")
        assert ("<audio" in card) == (name == "clip5")


def test_words_are_escaped(page):
    assert "it gets &lt;brighter&gt; &amp; “brighter”" in page and "<brighter>" not in page


def test_nothing_is_fetched_and_the_players_hold_the_media(page, folder):
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(?!["']?data:)""", page)
    played = {base64.b64decode(code) for code in re.findall(r'src="data:video/mp4;base64,([^"]+)"', page)}
    corpus = open_corpus(folder, "train")
    assert played == {corpus[place].media for place in range(5)}


def test_the_sample_follows_the_seed(folder, tmp_path):
    def shown(seed):
        page = inspect(folder, "train", tmp_path / "page.html", clips=2, seed=seed).read_text()
        return re.findall(r"<code>(.*?)</code>", page)

    assert shown(0) == shown(0) and len(shown(0)) == 2
    assert len({tuple(shown(seed)) for seed in range(6)}) > 1
    with pytest.raises(ValueError, match="clips must be at least 1"):
        inspect(folder, "train", tmp_path / "page.html", clips=0)


def test_clips_that_are_not_built_are_shown(clips, tmp_path):
    page = inspect(clips, "train", tmp_path / "page.html", clips=3).read_text(encoding="utf-8")
    assert len(re.findall(r"<article", page)) == 3 and "3 of 5 clips, drawn at random" in page
    assert f"{clips}, not built yet" in page and "data:video/mp4" in page
    bare = tmp_path / "bare"
    for name, number in (("cat/one.mp4", 0), ("dog/two.mp4", 1), ("dog/bad.mp4", None)):
        (bare / name).parent.mkdir(parents=True, exist_ok=True)
        content = b"no film" if number is None else (clips / "media" / f"{number}.mp4").read_bytes()
        (bare / name).write_bytes(content)
    page = inspect(bare, "train", tmp_path / "bare.html").read_text(encoding="utf-8")
    assert set(re.findall(r"<code>(.*?)</code>", page)) == {"cat/one", "dog/two"}
    assert "dog/bad: " in page and "2 of 3 clips" in page and page.count(">dog</span>") >= 1
    assert sorted(path.name for path in bare.iterdir()) == ["cat", "dog"]
    manifest = inspect(clips / "manifest.jsonl", "test", tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.findall(r"<code>(.*?)</code>", manifest) == ["clip3"]
    with pytest.raises(CorpusError, match="has no split 'validation'; it has train, test"):
        inspect(clips, "validation", tmp_path / "page.html")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="no media files"):
        inspect(tmp_path / "empty", "train", tmp_path / "page.html")


def test_a_clip_that_cannot_be_decoded_says_so(folder):
    import dataclasses

    class Damaged(Corpus):
        def __getitem__(self, index):
            return dataclasses.replace(super().__getitem__(index), media=b"rubbish")

    corpus = Damaged(folder, "train")
    card = make_card(corpus, 0)
    assert card.problem and card.frames == [] and card.player is None
    assert f'<p class="problem">{card.problem}' in render(corpus, [card]).replace("&#x27;", "'")


def test_players_of_small_clips_have_no_bar_over_them_and_are_reached_by_keyboard(page):
    shown = re.findall(r"<video[^>]*>", page)
    assert len(shown) == 4
    assert all('tabindex="0"' in tag and re.search('aria-label="Play or pause clip[0-9]"', tag) for tag in shown)
    assert "player.controls = false" in page and "event.key === ' ' || event.key === 'Enter'" in page


def test_the_page_has_the_colours_of_reports(page):
    from mmvideo.evaluation.report.parts.style import STYLE

    report = dict(re.findall(r"--(page|soft|line|ink|dim|blue):(#[0-9a-f]+)", STYLE.split("@media")[0]))
    own = dict(re.findall(r"--(paper|card|line|ink|soft|blue):(#[0-9a-f]+)", page.split("@media")[0]))
    same = {"paper": "page", "card": "soft", "line": "line", "ink": "ink", "soft": "dim", "blue": "blue"}
    assert own == {name: report[other] for name, other in same.items()}
