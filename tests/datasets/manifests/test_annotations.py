"""Several classes of a kind, numbers and moments: read, refused, built, and read back from a corpus."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmvideo.datasets.build import BuildError, build
from mmvideo.datasets.corpus import open_corpus
from mmvideo.datasets.inspect_corpus import inspect
from mmvideo.datasets.manifests.annotations import Annotations, Saliency, merge
from mmvideo.datasets.manifests.manifest import ManifestError, class_names, read_manifest

EVENTS = [{"start": 0.1, "end": 0.5, "caption": "it is dark"}, {"start": 0.5, "end": 1.0, "caption": "it is bright"}]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"media")
    return tmp_path


def read(folder, *rows):
    lines = [json.dumps({"id": str(number), "media": "a.mp4"} | row) for number, row in enumerate(rows)]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_manifest(folder)


def labels(*values):
    return [{"labels": {"kind": value}} for value in values]


def test_each_sort_of_label_is_read(folder):
    rows = read(folder, {"labels": {"one": "dog", "many": ["dog", "bark"], "none": [], "number": -1.3}}, {})
    assert rows[0].labels == {"one": "dog", "many": ("dog", "bark"), "none": (), "number": -1.3}
    assert rows[1].labels == {}


def test_whole_numbers_are_what_the_other_rows_say(folder):
    assert [row.labels["kind"] for row in read(folder, *labels(0, -1.5, 2))] == [0.0, -1.5, 2.0]
    assert all(isinstance(row.labels["kind"], float) for row in read(folder, *labels(0, -1.5, 2)))
    assert [row.labels["kind"] for row in read(folder, *labels(3, 10))] == ["3", "10"]
    assert [row.labels["kind"] for row in read(folder, *labels(3, "ten"))] == ["3", "ten"]
    assert [row.labels["kind"] for row in read(folder, *labels([3, 5], []))] == [("3", "5"), ()]


@pytest.mark.parametrize(
    ("values", "line", "said"),
    [
        (("dog", "cat", ["dog"]), 3, "label 'kind' is a list of classes, but one class on line 1"),
        ((["dog"], "dog"), 2, "label 'kind' is one class, but a list of classes on line 1"),
        ((3, ["dog"]), 1, "label 'kind' is one class, but a list of classes on line 2"),
        ((1.5, "dog"), 2, "label 'kind' is one class, but a number on line 1"),
        (("dog", None, 0.5), 3, "label 'kind' is a number, but one class on line 1"),
    ],
)
def test_a_kind_is_of_one_sort_throughout(folder, values, line, said):
    with pytest.raises(ManifestError) as error:
        read(folder, *labels(*values))
    assert str(error.value) == f"{folder / 'manifest.jsonl'}:{line}: {said}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"labels": {"k": ["a", "a"]}}, "label 'k' must list different class names"),
        ({"labels": {"k": ["a", 1.5]}}, "label 'k' must list different class names"),
        ({"labels": {"k": [["a"]]}}, "label 'k' must list different class names"),
        ({"labels": {"k": True}}, "label 'k' must be one class name, a list of them or a number, not true"),
        ({"labels": {"k": float("nan")}}, "label 'k' must be a finite number, not NaN; leave out what is unknown"),
        ({"labels": {"k": {"a": 1}}}, "label 'k' must be one class name"),
        ({"label": 1.5}, "several or a number go into 'labels'"),
        ({"moments": [1, 2]}, "'moments' must be a list of [start, end]"),
        ({"moments": [[2, 1]]}, "'moments' must go from a start of 0 s or more to a later end, not [2, 1]"),
        ({"moments": [[-1, 1]]}, "'moments' must go from a start of 0 s or more"),
        ({"moments": [["0", 1]]}, "'moments' must go from a start"),
        ({"moments": [[3, 4]], "start": 3, "end": 5}, "the clip lasts 2 s; count from its own start"),
        ({"saliency": 0.5}, "'saliency' must be"),
        ({"saliency": {"scores": [0.5]}}, "'saliency' must be"),
        ({"saliency": {"step": 0, "scores": []}}, "a step of more than 0 seconds, not 0"),
        ({"saliency": [0.5, 3]}, "scores from 0 to 1, or null, not 3"),
        ({"events": [{"start": 0, "end": 1}]}, "'events' must hold"),
        ({"events": [{"start": 1, "end": 1, "caption": "x"}]}, "'events' must go from a start"),
        ({"events": "x"}, "'events' must be a list"),
    ],
)
def test_a_wrong_annotation_is_named_with_its_line(folder, row, said):
    with pytest.raises(ManifestError) as error:
        read(folder, {}, row)
    assert str(error.value).startswith(f"{folder / 'manifest.jsonl'}:2: ")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_moments_saliency_and_events(folder):
    row = {"moments": [[5, 7.5], [0, 1]], "saliency": [None, 0.5, 1], "events": EVENTS}
    (one,) = read(folder, row)
    assert one.moments == ((0.0, 1.0), (5.0, 7.5))
    assert one.saliency == Saliency(2.0, (None, 0.5, 1.0))
    # Nothing of what was said is lost.
    assert one.attributes == row
    (one,) = read(folder, {"saliency": {"step": 0.5, "scores": [0]}, "moments": []})
    assert one.saliency == Saliency(0.5, (0.0,)) and one.moments == ()


def test_csv_columns_of_single_kinds(folder):
    rows = [
        {"labels": {"verb": "3", "events": ["dog", "bark"], "mood": -1.3}, "moments": [[0, 1]], "saliency": [0.5]},
        {"labels": {"events": ["cat"], "mood": 2.0, "place": "here"}},
        {"labels": {"events": []}},
    ]
    expected = read(folder, *rows)
    (folder / "table.csv").write_text(
        "id,media,label.verb,labels.events,number.mood,labels,moments,saliency\n"
        '0,a.mp4,3,dog| bark,-1.3,,"[[0, 1]]",[0.5]\n'
        '1,a.mp4,,cat,2,"{""place"": ""here""}",,\n'
        "2,a.mp4,,|,,,,\n"
    )
    found = read_manifest(folder / "table.csv")
    assert found == [type(row)(**{**vars(row), "line": row.line + 1}) for row in expected]


def test_csv_mistakes_in_columns_of_single_kinds(folder):
    (folder / "manifest.csv").write_text("id,media,number.mood\nx,a.mp4,happy\n")
    with pytest.raises(ManifestError, match=r"manifest.csv:2: 'number.mood' must be a number, not 'happy'"):
        read_manifest(folder)
    (folder / "manifest.csv").write_text("id,media,number.mood,label.mood\nx,a.mp4,1,happy\n")
    with pytest.raises(ManifestError, match=r"manifest.csv:2: label 'mood' has two columns"):
        read_manifest(folder)


def test_class_names_of_several(folder, caplog):
    rows = read(folder, *labels(["b", "c10"], ["c9"], []))
    assert class_names(rows, {}) == {"kind": ["b", "c9", "c10"]}
    assert class_names(read(folder, *labels([])), {}) == {"kind": []}
    assert "label 'kind' has no class in any row, all lists are empty" in caplog.text
    assert class_names(read(folder, *labels([])), {"kind": ["a"]}) == {"kind": ["a"]}
    (folder / "classes.json").write_text('{"kind": ["dog", "cat"]}')
    with pytest.raises(ManifestError, match="jsonl:2: class 'cta' of label 'kind' isn't in classes.json; did you mean"):
        read(folder, *labels(["dog"], ["dog", "cta"]))
    with pytest.raises(ManifestError, match="jsonl:1: label 'kind' is the number 0.5, but classes.json lists classes"):
        read(folder, *labels(0.5))


def test_a_set_in_which_every_list_is_empty_is_built(clips, tmp_path):
    """Known to have none is not unknown, also where no clip has any: one clip, or all of a split."""
    media = str(clips / "media" / "0.mp4")
    rows = [{"id": "one", "media": media, "labels": {"events": []}}]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = build(tmp_path, tmp_path / "out", processes=1, allow_outside=True)
    assert summary.labels == {"events": "a list of classes of 0"}
    corpus = open_corpus(tmp_path / "out", "train")
    assert corpus.classes == {"events": []} and corpus.table.several == {"events": [[]]}
    assert corpus[0].several == {"events": []}
    assert "none" in inspect(tmp_path / "out", "train", tmp_path / "page.html").read_text(encoding="utf-8")


def test_kinds_of_several_corpora():
    one, two = Annotations(("a",), ("b",)), Annotations(("c", "a"), (), ("n",))
    assert merge([("one", one), ("two", two)]) == Annotations(("a", "c"), ("b",), ("n",))
    with pytest.raises(ValueError, match="label 'b' is a list of classes in one, a number in three; rename it"):
        merge([("one", one), ("three", Annotations(number=("b",)))])


@pytest.fixture(scope="module")
def annotated(clips, tmp_path_factory):
    """The six clips with annotations of every sort, each missing somewhere."""
    source = tmp_path_factory.mktemp("annotated")
    shutil.copytree(clips / "media", source / "media")
    rows = [json.loads(line) for line in (clips / "manifest.jsonl").read_text().splitlines()]
    several, numbers = [["dog", "bark"], None, [], ["cat"], ["bark"], ["dog"]], [-1.3, 2, None, 0.0, 3, None]
    for row, many, number in zip(rows, several, numbers, strict=True):
        row["labels"] |= {"events": many, "mood": number}
    rows[0] |= {"moments": [[0.75, 1.0], [0, 0.25]], "saliency": {"step": 0.5, "scores": [0.25, None]}}
    rows[4] |= {"moments": [], "events": EVENTS}
    (source / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return source


def test_what_is_annotated_comes_out_of_the_corpus(annotated, tmp_path):
    summary = build(annotated, tmp_path / "out", processes=1, shard_clips=2)
    assert summary.labels == {"events": "a list of classes of 3", "mood": "a number", "pitch": "one class of 2"}
    assert summary.moments == 1
    assert build(annotated, tmp_path / "out", processes=1, shard_clips=2) == summary
    corpus = open_corpus(tmp_path / "out", "train")
    assert corpus.annotations == Annotations(("pitch",), ("events",), ("mood",))
    assert corpus.classes == {"events": ["bark", "cat", "dog"], "pitch": ["high", "low"]}
    assert corpus.table.several["events"] == [[2, 0], None, [], [0], [2]]
    np.testing.assert_array_equal(corpus.table.numbers["mood"], [-1.3, 2, np.nan, 3, np.nan])
    assert corpus.table.moments == [[(0.0, 0.25), (0.75, 1.0)], None, None, [], None]
    assert corpus.table.saliency == [Saliency(0.5, (0.25, None)), None, None, None, None]
    assert corpus.attributes(3)["events"] == EVENTS and corpus.attributes(0)["moments"] == [[0.75, 1.0], [0, 0.25]]
    for place in range(5):
        record = corpus[place]
        assert record.labels == {"pitch": corpus.table.labels["pitch"][place]}
        assert record.several == {"events": corpus.table.several["events"][place]}
        assert record.numbers["mood"] == pytest.approx(corpus.table.numbers["mood"][place], nan_ok=True)
    test = open_corpus(tmp_path / "out", "test")
    assert test.annotations == corpus.annotations and test.table.moments is None and test.table.saliency is None


def test_a_changed_annotation_is_a_changed_manifest(annotated, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(annotated, source)
    build(source, tmp_path / "out", processes=1)
    text = (source / "manifest.jsonl").read_text()
    (source / "manifest.jsonl").write_text(text.replace("0.75, 1.0", "0.5, 1.0"))
    with pytest.raises(BuildError, match="was built before the clips or the manifest"):
        build(source, tmp_path / "out", processes=1)


def test_a_moment_behind_the_end_leaves_its_clip_out(clips, tmp_path):
    media = str(clips / "media" / "0.mp4")
    rows = [{"id": "good", "media": media, "moments": [[0, 9]]}, {"id": "bad", "media": media, "moments": [[5, 9]]}]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = build(tmp_path, tmp_path / "out", processes=1, allow_outside=True)
    assert summary.clips == 1 and summary.skipped[0][0] == "bad"
    assert "its moment [5, 9] s lies behind its end, at 1.0" in summary.skipped[0][1]


def test_a_corpus_without_them_is_what_it_was(clips, tmp_path):
    """No column, no feature and no fingerprint is other than before there were any such annotations."""
    build(clips, tmp_path / "out", processes=1, name="same")
    table = pq.read_table(tmp_path / "out" / "clips-train.parquet")
    assert table.column_names == [
        "id", "seconds", "has_video", "has_audio", "width", "height", "fps", "label/pitch", "captions", "tags",
        "attributes",
    ]  # fmt: skip
    path = tmp_path / "out" / "build.json"
    record = json.loads(path.read_text())
    del record["moments"], record["digests"]
    path.write_text(json.dumps(record))
    (tmp_path / "out" / "digests.json").unlink()
    assert build(clips, tmp_path / "out", processes=1, name="same").moments == 0
    corpus = open_corpus(tmp_path / "out", "train")
    assert corpus.annotations == Annotations(("pitch",)) and corpus[0].several == {} == corpus[0].numbers
    assert corpus.table.moments is None and corpus.table.saliency is None


def test_the_page_shows_them(annotated, tmp_path):
    build(annotated, tmp_path / "out", processes=1)
    page = inspect(tmp_path / "out", "train", tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Classes of “events”, several a clip" in page and "Numbers of “mood”, mean 1.23, 2 unknown" in page
    assert "<span>events</span> dog, bark</span>" in page and "<span>events</span> none</span>" in page
    width = 100 * 0.25 / open_corpus(tmp_path / "out", "train").table.seconds[0]
    assert f'<i style="left:0.00%;width:{width:.2f}%"' in page
    assert page.count('<div class="told">') == 2
