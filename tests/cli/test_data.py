"""`mmvideo data` from nothing to a page, and what it says of a folder that is wrong."""

from __future__ import annotations

from mmvideo.cli.main import main


def test_shapes_to_corpus_to_page(tmp_path, capsys):
    clips, corpus, page = (str(tmp_path / name) for name in ("clips", "corpus", "page.html"))
    numbers = ["--train", "6", "--test", "3", "--size", "32", "--processes", "1"]
    assert main(["data", "shapes", clips, *numbers]) == 0
    tokenizer = ["--tokenizer-vocabulary", "80", "--time-tokens", "4"]
    assert main(["data", "build", clips, corpus, *tokenizer, "--processes", "1"]) == 0
    assert "9 clips (" in capsys.readouterr().out
    assert main(["data", "show", corpus, "--split", "test", "--out", page]) == 0
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count("test-00000") >= 3 and "data:" in html

    assert main(["data", "show", corpus, "--split", "validation", "--out", page]) == 2
    said = capsys.readouterr().err
    assert "validation" in said and "train" in said and said.count("\n") == 1


def test_scenes_and_questions_to_corpora(tmp_path, capsys):
    scenes, shapes, out = (str(tmp_path / name) for name in ("scenes", "shapes", "out"))
    numbers = ["--size", "32", "--processes", "1"]
    lengths = ["--shortest", "5", "--longest", "9", "--queries", "2"]
    assert main(["data", "scenes", scenes, "--train", "2", "--test", "1", *lengths, *numbers]) == 0
    assert main(["data", "build", scenes, out, "--processes", "1"]) == 0
    said = capsys.readouterr().out
    assert "6 clips (4 train, 2 test)" in said and "moments: of 6 clips" in said
    assert main(["data", "show", out, "--out", str(tmp_path / "page.html")]) == 0
    assert '<div class="told"><i style="left:' in (tmp_path / "page.html").read_text(encoding="utf-8")

    assert main(["data", "shapes", shapes, "--train", "2", "--test", "1", "--questions", "3", *numbers]) == 0
    assert main(["data", "build", f"{shapes}/questions.jsonl", f"{out}-questions", "--processes", "1"]) == 0
    assert "9 clips (6 train, 3 test)" in capsys.readouterr().out
    assert main(["data", "build", shapes, f"{out}-shapes", "--processes", "1"]) == 0
    assert "elements, a list of classes of" in (said := capsys.readouterr().out) and "mood, a number" in said
    assert main(["data", "scenes", scenes, "--shortest", "22"]) == 2
    assert "longest=24.0 of long videos must lie from 26.0" in capsys.readouterr().err


def test_a_broken_clip_is_skipped_and_listed(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert main(["data", "shapes", str(tmp_path / "made"), "--train", "3", "--test", "0", "--processes", "1"]) == 0
    for number, clip in enumerate(sorted((tmp_path / "made" / "clips").glob("*.mp4"))):
        (folder / f"{number}.mp4").write_bytes(clip.read_bytes() if number else b"this is no video")
    assert main(["data", "build", str(folder), str(tmp_path / "corpus"), "--processes", "1"]) == 0
    said = capsys.readouterr().out
    assert "2 clips" in said and "1 skipped" in said and "skipped 0:" in said


def test_a_manifest_that_is_wrong_is_one_line(tmp_path, capsys):
    (tmp_path / "manifest.jsonl").write_text('{"id": "a", "media": "nowhere.mp4"}\n{"media": "b.mp4"}\n')
    assert main(["data", "build", str(tmp_path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "nowhere.mp4" in said and "id" in said
    assert not (tmp_path / "out" / "dataset_info.json").exists()
