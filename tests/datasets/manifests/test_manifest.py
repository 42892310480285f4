"""Manifests: what is read, and what is said of a wrong one."""

from __future__ import annotations

import json
import os

import pytest

from mmvideo.datasets.manifests.manifest import ManifestError, class_names, read_manifest


@pytest.fixture
def folder(tmp_path):
    for name in ("a.mp4", "b.mp4", "c.wav"):
        (tmp_path / name).write_bytes(b"media")
    return tmp_path


def read(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "manifest.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return read_manifest(folder)


def test_every_column_is_read(folder):
    row = {
        "id": "one", "media": "a.mp4", "start": 1, "end": 2.5, "caption": "first", "captions": ["second"],
        "label": "cat", "labels": {"place": "garden"}, "split": "test", "tags": ["x"], "attributes": {"k": [1]},
        "licence": "CC0",
    }  # fmt: skip
    (one,) = read(folder, row)
    assert (one.id, one.media, one.start, one.end) == ("one", folder / "a.mp4", 1, 2.5)
    assert one.captions == ("first", "second")
    assert one.labels == {"label": "cat", "place": "garden"}
    assert (one.split, one.tags, one.line) == ("test", ("x",), 1)
    assert one.attributes == {"k": [1], "licence": "CC0"}


def test_what_is_optional_may_be_missing_or_null(folder):
    one, two = read(folder, {"id": "one", "media": "a.mp4"}, "", {"id": "two", "media": "b.mp4", "label": None})
    assert (one.captions, one.labels, one.split) == ((), {}, "train")
    assert (two.labels, two.line) == ({}, 3)


def test_csv_says_the_same_as_json_lines(folder):
    rows = [
        {"id": "one", "media": "a.mp4", "captions": ["x, y", "z"], "label": "cat", "tags": ["p", "q"], "start": 1.5},
        {"id": "two", "media": "b.mp4", "captions": ["plain"], "labels": {"place": "here"}},
    ]
    expected = read(folder, *rows)
    (folder / "table.csv").write_text(
        "id,media,captions,label,labels,tags,start\n"
        'one,a.mp4,"[""x, y"", ""z""]",cat,,p; q,1.5\n'
        'two,b.mp4,plain,,"{""place"": ""here""}",,\n',
        encoding="utf-8-sig",
    )
    assert read_manifest(folder / "table.csv") == [type(row)(**{**vars(row), "line": row.line + 1}) for row in expected]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"media": "a.mp4"}, "no 'id'"),
        ({"id": 3, "media": "a.mp4"}, "'id' must be a text"),
        ({"id": "x"}, "no 'media'"),
        ({"id": "x", "media": "nowhere.mp4"}, "'nowhere.mp4' doesn't exist"),
        ({"id": "x", "media": "../a.mp4\0"}, "doesn't exist"),
        ({"id": "x", "media": "https://host/a.mp4"}, "download it first"),
        ({"id": "x", "media": "."}, "is a folder"),
        ({"id": "ok", "media": "a.mp4"}, "id 'ok' is already used on line 1"),
        ({"id": "x", "media": "a.mp4", "start": "1"}, "'start' must be a number of seconds"),
        ({"id": "x", "media": "a.mp4", "end": float("nan")}, "'end' must be a number of seconds"),
        ({"id": "x", "media": "a.mp4", "start": 2, "end": 2}, "'end' (2) must be greater than 'start' (2)"),
        ({"id": "x", "media": "a.mp4", "captions": [1]}, "'captions' must be a list of texts"),
        ({"id": "x", "media": "a.mp4", "label": ["cat"]}, "must be one class name"),
        ({"id": "x", "media": "a.mp4", "label": "a", "labels": {"label": "b"}}, "disagree"),
        ({"id": "x", "media": "a.mp4", "labels": {"a/b": "c"}}, "can't be a kind of label"),
        ({"id": "x", "media": "a.mp4", "split": "all"}, "'split' must be a word"),
        ({"id": "x", "media": "a.mp4", "split": "../up"}, "'split' must be a word"),
        ("{oops", "isn't JSON"),
        ("[1]", "isn't an object"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(folder, row, said):
    with pytest.raises(ManifestError) as error:
        read(folder, {"id": "ok", "media": "a.mp4"}, row)
    assert str(error.value).startswith(f"{folder / 'manifest.jsonl'}:2: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_one_message_lists_the_first_few(folder):
    with pytest.raises(ManifestError, match=r"jsonl:1: .* \| line 2: .* \| line 3: .* \| line 4: .* \| and 3 more"):
        read(folder, *[{"id": str(number)} for number in range(7)])


def test_empty_and_binary_files(folder):
    with pytest.raises(ManifestError, match="is empty"):
        read(folder, "")
    (folder / "manifest.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="isn't UTF-8"):
        read_manifest(folder)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_manifest(folder / "nowhere")


def test_csv_mistakes(folder):
    (folder / "manifest.csv").write_text("name,media\nx,a.mp4\n")
    with pytest.raises(ManifestError, match=r"manifest.csv:1: no column 'id' \(the columns are name, media\)"):
        read_manifest(folder)
    (folder / "manifest.csv").write_text("id,media,caption\nx,a.mp4,one, two\n")
    with pytest.raises(ManifestError, match=r"manifest.csv:2: .*quote cells"):
        read_manifest(folder)


def write_csv(folder, text):
    (folder / "manifest.csv").write_bytes(text.encode())
    return folder


def test_two_columns_of_one_name_are_refused(folder):
    write_csv(folder, "id,media,caption,label, caption \nx,a.mp4,one,cat,two\n")
    with pytest.raises(ManifestError, match=r"csv:1: columns 3 and 5 are both called 'caption'; rename or remove"):
        read_manifest(folder)
    with pytest.raises(ManifestError, match=r"jsonl:1: has two values of 'caption'"):
        read(folder, '{"id": "x", "media": "a.mp4", "caption": "one", "caption": "two"}')
    with pytest.raises(ManifestError, match=r"jsonl:1: has two values of 'verb'"):
        read(folder, '{"id": "x", "media": "a.mp4", "labels": {"verb": "a", "verb": "b"}}')
    (folder / "manifest.jsonl").unlink()
    write_csv(folder, 'id,media,labels\nx,a.mp4,"{""verb"": ""a"", ""verb"": ""b""}"\n')
    with pytest.raises(ManifestError, match=r"csv:2: .*has two values of 'verb'"):
        read_manifest(folder)


def test_blanks_around_the_names_of_columns_lose_nothing(folder):
    write_csv(folder, 'id, media ,\tcaption, label , labels.parts ,"tags "\nx,a.mp4, hello ,cat,p|q,r; s\n')
    (row,) = read_manifest(folder)
    assert (row.media, row.captions, row.tags) == (folder / "a.mp4", ("hello",), ("r", "s"))
    assert row.labels == {"label": "cat", "parts": ("p", "q")} and row.attributes == {}


def test_columns_without_a_name_must_be_empty(folder):
    assert len(read_manifest(write_csv(folder, "id,media,,\nx,a.mp4,,\n"))) == 1
    with pytest.raises(ManifestError, match="csv:2: has a cell in column 3, which has no name on the first line"):
        read_manifest(write_csv(folder, "id,media,,\nx,a.mp4,lost,\n"))


def test_nan_is_missing_and_told(folder, caplog):
    write_csv(
        folder,
        "id,media,caption,label,start,number.mood,labels.parts,source\nx,a.mp4,nan,NaN,nan,nan,nan,<NA>\n"
        "y,b.mp4,nan,cat,1,0.5,p,nanny\n",
    )
    one, two = read_manifest(folder)
    assert (one.captions, one.labels, one.start, one.attributes) == ((), {}, None, {})
    assert (two.captions, two.labels) == ((), {"label": "cat", "mood": 0.5, "parts": ("p",)})
    assert two.attributes == {"source": "nanny"}
    assert "taken as missing: 2 of 'caption', 1 of 'label', 1 of 'start'" in caplog.text
    with pytest.raises(ManifestError, match="csv:2: no 'id'"):
        read_manifest(write_csv(folder, "id,media\nnan,a.mp4\n"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_only_what_csv_takes_for_the_end_of_a_line_ends_one(folder, end):
    odd = "a\u2028b\u2029c\u0085d\ve\ff\x1cg\x1dh\x1ei"
    lines = ["id,media,caption,tags", f"x,a.mp4,{odd},p", f'y,b.mp4,"two{end}lines, {odd}",q', "", "z,c.wav,plain,r"]
    rows = read_manifest(write_csv(folder, end.join(lines) + end))
    assert [row.id for row in rows] == ["x", "y", "z"]
    assert [row.captions[0] for row in rows] == [odd, f"two{end}lines, {odd}", "plain"]
    assert [row.tags for row in rows] == [("p",), ("q",), ("r",)]


def test_json_that_cannot_be_held_is_a_wrong_row(folder):
    for line in ("[" * 100_000, '{"id": "x", "media": "a.mp4", "start": ' + "9" * 5000 + "}"):
        with pytest.raises(ManifestError, match="jsonl:1: isn't JSON that can be read"):
            read(folder, line)


def test_bytes_that_are_not_utf8_are_told_with_their_line(folder):
    (folder / "manifest.csv").write_bytes("id,media,caption\nx,a.mp4,plain\ny,b.mp4,café\n".encode("latin-1"))
    with pytest.raises(
        ManifestError, match=r"manifest.csv:3: isn't UTF-8 text \(byte 0xe9 at 42\); save the file as UTF-8"
    ):
        read_manifest(folder)


def test_classes_file_fixes_the_names(folder):
    (folder / "classes.json").write_text('{"label": ["dog", "cat"]}')
    rows = read(folder, {"id": "x", "media": "a.mp4", "label": "cat"})
    assert class_names(rows, {"label": ["dog", "cat"]}) == {"label": ["dog", "cat"]}
    with pytest.raises(ManifestError, match="class 'cta' of label 'label' isn't in classes.json; did you mean 'cat'"):
        read(folder, {"id": "x", "media": "a.mp4", "label": "cta"})
    (folder / "classes.json").write_text('{"label": ["dog"], "label": ["cat"]}')
    with pytest.raises(ManifestError, match="classes.json: has two values of 'label'"):
        read_manifest(folder)
    (folder / "classes.json").write_text('{"label": ["dog", "dog"]}')
    with pytest.raises(ManifestError, match="different class names"):
        read_manifest(folder)


def test_numbered_classes_are_in_the_order_of_their_numbers(folder):
    rows = read(folder, *[{"id": str(n), "media": "a.mp4", "label": n} for n in (10, 9, 1)])
    assert class_names(rows, {}) == {"label": ["1", "9", "10"]}


def test_a_folder_of_clips_needs_no_manifest(folder):
    rows = read_manifest(folder)
    assert [row.id for row in rows] == ["a", "b", "c"]
    assert all(row.labels == {} and row.split == "train" for row in rows)


def test_class_folders_are_labels_and_split_folders_splits(tmp_path):
    for name in ("train/cat/1.mp4", "train/dog/deep/2.MP4", "val/cat/3.mp4", "val/cat/notes.txt", ".git/x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"media")
    rows = {row.id: (row.split, row.labels.get("label")) for row in read_manifest(tmp_path)}
    assert rows == {
        "train/cat/1": ("train", "cat"),
        "train/dog/deep/2": ("train", "dog"),
        "val/cat/3": ("validation", "cat"),
    }


def test_a_folder_without_clips_or_with_twins(tmp_path):
    with pytest.raises(ManifestError, match="write manifest.jsonl"):
        read_manifest(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "a.wav").write_bytes(b"")
    with pytest.raises(ManifestError, match="same name as a.mp4"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"caption": "a dog \ud83d"}, "caption"),
        ({"captions": ["fine", "\udc36 dog"]}, "captions"),
        ({"labels": {"verb": ["run", "bark\ud83d"]}}, "labels.verb"),
        ({"tags": ["\ud83d"]}, "tags"),
        ({"split": "test\ud83d"}, "split"),
        ({"attributes": {"place": {"town": ["\ud83d"]}}}, "attributes.place.town"),
        ({"source\ud83d": 1}, r"source\ud83d"),
        ({"events": [{"start": 0, "end": 1, "caption": "\ud83d"}]}, "events.caption"),
    ],
)
def test_half_a_character_leaves_out_its_row_alone(folder, other, name):
    row, good = read(folder, {"id": "x", "media": "a.mp4", "label": "cat", **other}, {"id": "y", "media": "b.mp4"})
    spelled = r"\udc36" if name == "captions" else r"\ud83d"
    assert row.fault.startswith(f"{folder / 'manifest.jsonl'}:1: '{name}' holds {spelled}, half of a character")
    assert (row.id, row.captions, row.labels, good.fault) == ("x", (), {}, None)
    row.fault.encode()


def test_half_a_character_in_an_id_or_in_classes(folder):
    (row,) = read(folder, {"id": "x\ud83d", "media": "a.mp4"})
    assert row.id == r"x\ud83d" and "'id' holds" in row.fault
    (folder / "classes.json").write_text(r'{"label": ["dog", "cat\ud83d"]}')
    with pytest.raises(ManifestError, match=r"classes.json: 'label' holds \\ud83d, half of a character"):
        read_manifest(folder)


def test_a_whole_character_written_in_halves_is_one(folder):
    (row,) = read(folder, r'{"id": "x", "media": "a.mp4", "caption": "\ud83d\udc36 barks"}')
    assert row.captions == ("🐶 barks",) and row.fault is None


def test_names_of_files_that_are_not_utf8_are_spelled_out(tmp_path):
    place = os.fsencode(tmp_path)
    try:
        os.mkdir(place + b"/caf\xe9")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    for name in (b"/caf\xe9/\xfcber.mp4", "/café.mp4".encode()):
        with open(place + name, "wb") as file:
            file.write(b"media")
    rows = {row.id: row for row in read_manifest(tmp_path)}
    assert set(rows) == {r"caf\xe9/\xfcber", "café"} and all(row.media.is_file() for row in rows.values())
    os.remove(place + "/café.mp4".encode())
    assert [row.labels for row in read_manifest(tmp_path)] == [{"label": r"caf\xe9"}]
    (row,) = read(tmp_path, {"id": "x", "media": "caf\udce9/\udcfcber.mp4"})
    assert row.fault is None and row.media.is_file()
    with pytest.raises(ManifestError, match=r"'\\xe9.mp4' doesn't exist") as raised:
        read(tmp_path, {"id": "x", "media": "\udce9.mp4"})
    str(raised.value).encode()
