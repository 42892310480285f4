"""Digests of corpora: every changed byte of a small file is found when the corpus is opened, and told by file."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from mmvideo.datasets.build import LAYOUT, BuildError, build
from mmvideo.datasets.corpus import Corpus, CorpusError, digest, open_corpus, splits
from mmvideo.datasets.digests import DIGESTS


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("digests") / "whole"
    build(clips, out, processes=1, shard_clips=2, tokenizer_vocabulary=40)
    return out


@pytest.fixture
def copy(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "copy")


def flip(path, place: int, bits: int = 0x10) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= bits
    path.write_bytes(content)


@pytest.mark.parametrize(
    "name",
    ["clips-train.parquet", "tokenizer.model", "build.json", "features.json", "dataset_info.json", "skipped.jsonl",
     "labels-pitch.labels.txt", DIGESTS],
)  # fmt: skip
def test_a_flipped_byte_anywhere_is_found(copy, name):
    (path,) = [path for path in copy.iterdir() if path.name.endswith(name)]
    content = path.read_bytes() or b"{}\n"
    for place in range(0, len(content), max(1, len(content) // 12)):
        path.write_bytes(content)
        flip(path, place)
        with pytest.raises(CorpusError, match=re.escape(str(path))):
            open_corpus(copy, "train")
    with pytest.raises(CorpusError) if name != "clips-train.parquet" else _nothing():
        splits(copy)


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


def test_a_file_that_is_missing_is_named(copy):
    for name in ("tokenizer.model", "features.json", DIGESTS):
        content = (copy / name).read_bytes()
        (copy / name).unlink()
        with pytest.raises(CorpusError, match=f"{name}: is missing; copy the folder again or build the corpus anew"):
            open_corpus(copy, "train")
        (copy / name).write_bytes(content)
    assert len(open_corpus(copy, "train")) == 5


def test_another_split_is_not_read(copy):
    flip(copy / "clips-test.parquet", 100)
    assert len(open_corpus(copy, "train")) == 5
    with pytest.raises(CorpusError, match=r"clips-test.parquet: isn't what was built: its SHA-256 is \w{16}…, and was"):
        open_corpus(copy, "test")


def test_the_digest_is_that_of_the_clips(clips, whole, copy, tmp_path):
    assert re.fullmatch("[0-9a-f]{64}", digest(whole))
    assert digest(whole) == digest(copy) == open_corpus(whole, "test").digest == open_corpus(copy, "train").digest
    elsewhere = shutil.copytree(clips, tmp_path / "elsewhere")
    same = {"name": "whole", "processes": 1, "shard_clips": 2, "tokenizer_vocabulary": 40}
    build(elsewhere, tmp_path / "again", **same)
    assert digest(tmp_path / "again") == digest(whole)
    rows = [json.loads(line) for line in (elsewhere / "manifest.jsonl").read_text().split("\n") if line]
    changed = {
        "captions": [row | {"captions": ["another"] if row["id"] == "clip0" else row["captions"]} for row in rows],
        "labels": [row | {"labels": {"pitch": "low"} if row["labels"] else {}} for row in rows],
        "fewer": rows[:-1],
        "media": [row | {"media": "media/1.mp4"} if row["id"] == "clip0" else row for row in rows],
    }
    found = {digest(whole)}
    for number, (name, other) in enumerate(changed.items(), 2):
        (elsewhere / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other))
        build(elsewhere, tmp_path / name, **same)
        found.add(digest(tmp_path / name))
        assert len(found) == number, name


def test_a_damaged_corpus_is_not_taken_for_built(clips, copy, whole):
    flip(copy / "skipped.jsonl", 0) if (copy / "skipped.jsonl").read_bytes() else (copy / "skipped.jsonl").write_text(
        "x"
    )
    with pytest.raises(BuildError, match="skipped.jsonl: isn't what was built.*to build it anew"):
        build(clips, copy, name="whole", processes=1, shard_clips=2, tokenizer_vocabulary=40)


def as_before(folder):
    """Makes it one of before there were digests."""
    (folder / DIGESTS).unlink()
    record = json.loads((folder / "build.json").read_text())
    del record["digests"]
    (folder / "build.json").write_text(json.dumps(record, indent=1))


def test_a_corpus_of_before_is_read_and_told(copy, whole, caplog):
    as_before(copy)
    corpus = open_corpus(copy, "train")
    assert "built before corpora kept digests" in caplog.text
    assert corpus[0] == open_corpus(whole, "train")[0]
    before = corpus.digest
    assert re.fullmatch("[0-9a-f]{64}", before) and digest(copy) == before
    flip(copy / "tokenizer.model", 50)
    assert digest(copy) != before


def test_a_corpus_of_another_layout_is_told_or_refused(copy, caplog):
    as_before(copy)
    record = json.loads((copy / "build.json").read_text())
    assert record["layout"] == LAYOUT
    (copy / "build.json").write_text(json.dumps(record | {"layout": 1}))
    assert open_corpus(copy, "train")[0].id == open_corpus(copy, "train").table.id[0]
    assert caplog.text.count(f"an older mmvideo (layout 1, now {LAYOUT}): colours of its transcoded clips") == 1
    (copy / "build.json").write_text(json.dumps(record | {"layout": LAYOUT + 1}))
    with pytest.raises(CorpusError, match=f"has layout {LAYOUT + 1}, .* update mmvideo"):
        open_corpus(copy, "train")
    (copy / "build.json").write_text(json.dumps(record | {"layout": "x"}))
    with pytest.raises(CorpusError, match="its layout is 'x', and no number"):
        open_corpus(copy, "train")


def test_a_corpus_of_another_layout_is_not_taken_for_the_one_to_be_built(clips, tmp_path):
    out = tmp_path / "corpus"
    build(clips, out, processes=1, progress=False)
    as_before(out)
    record = json.loads((out / "build.json").read_text())
    (out / "build.json").write_text(json.dumps(record | {"layout": 1}))
    with pytest.raises(BuildError, match=f"was built with layout 1 of corpora, now it is {LAYOUT}; delete it"):
        build(clips, out, processes=1, progress=False)


def test_how_pictures_are_read_is_part_of_the_digest(copy):
    as_before(copy)
    record, found = json.loads((copy / "build.json").read_text()), {digest(copy)}
    for told in ({"deinterlace": True}, {"deinterlace": False}):
        (copy / "build.json").write_text(json.dumps(record | {"pictures": told}))
        found.add(digest(copy))
        assert digest(copy) == open_corpus(copy, "train").digest
    assert len(found) == 3


def test_damage_that_no_digest_tells_is_one_line_all_the_same(copy):
    as_before(copy)
    content = (copy / "clips-train.parquet").read_bytes()
    (copy / "clips-train.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorpusError, match="clips-train.parquet: can't be read"):
        open_corpus(copy, "train")
    shutil.copyfile(copy / "clips-test.parquet", copy / "clips-train.parquet")
    with pytest.raises(CorpusError, match="has 1 clips, and build.json says 5"):
        open_corpus(copy, "train")
    (copy / "build.json").write_bytes(b"\xff" + (copy / "build.json").read_bytes())
    with pytest.raises(CorpusError, match="build.json: is damaged"):
        open_corpus(copy, "train")


def test_shards_that_cannot_be_opened_are_told_before_a_record_is_read(copy):
    as_before(copy)
    (copy / "features.json").write_text("{}")
    with pytest.raises(CorpusError, match="the shards of 'train' can't be opened"):
        open_corpus(copy, "train").open_records()


def test_a_record_of_another_clip_is_refused(copy):
    first, second = (copy / f"whole-train.array_record-0000{n}-of-00003" for n in (0, 1))
    swapped = first.read_bytes(), second.read_bytes()
    first.write_bytes(swapped[1])
    second.write_bytes(swapped[0])
    as_before(copy)
    record = json.loads((copy / "build.json").read_text())
    record["shards"] |= {path.name: path.stat().st_size for path in (first, second)}
    (copy / "build.json").write_text(json.dumps(record))
    corpus = Corpus(copy, "train")
    with pytest.raises(CorpusError, match="record 0 of 'train' is 'clip2', in the clip table 'clip0'"):
        corpus[0]
    assert corpus[4].id == "clip5"
