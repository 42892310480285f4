"""Corpora: built, stopped, gone on with, refused."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmvideo.datasets.build import BuildError, build
from mmvideo.datasets.corpus import CorpusError, open_corpus
from mmvideo.datasets.workers import WorkerDied, run_tasks
from mmvideo.datasets.write_shard import Recipe, ShardTask

REPOSITORY = Path(__file__).parents[2]


def write_rows(folder: Path, rows: list[dict]) -> Path:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def run_python(code: str, *arguments: str, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **options}
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "build.json"}


def test_what_goes_in_comes_out(clips, tmp_path):
    summary = build(clips, tmp_path / "out", processes=1, shard_clips=2)
    assert (summary.clips, summary.skipped, summary.splits) == (6, [], {"train": 5, "test": 1})
    corpus = open_corpus(tmp_path / "out", "train")
    assert corpus.name == "out" and len(corpus) == 5
    assert list(corpus.table.id) == ["clip0", "clip1", "clip2", "clip4", "clip5"]
    assert corpus.classes == {"pitch": ["high", "low"]}
    assert corpus.table.labels["pitch"].tolist() == [1, -1, 1, 1, 0]
    assert corpus.table.has_video.tolist() == [True] * 4 + [False]
    assert corpus.table.has_audio.tolist() == [True, True, False, True, True]
    assert corpus.table.width.tolist() == [48] * 4 + [0] and corpus.table.height[0] == 32
    np.testing.assert_allclose(corpus.table.fps, [8, 8, 8, 8, 0])
    np.testing.assert_allclose(corpus.table.seconds, 1.0, atol=0.07)
    for number, row in enumerate(corpus.table.id):
        record = corpus[number]
        assert record.id == row and record.suffix == ".mp4" and record.tags == ["tone"]
        assert record.media == (clips / "media" / f"{row[4:]}.mp4").read_bytes()
        assert record.captions == corpus.table.captions[number]
        assert record.labels == {"pitch": corpus.table.labels["pitch"][number]}
        assert corpus.attributes(number) == {"number": int(row[4:]), "source": "made"}
    assert len(corpus[2].captions) == 2 and len(corpus[0].captions) == 0


def test_tfds_reads_it_where_tensorflow_cannot_be_imported(clips, tmp_path):
    build(clips, tmp_path / "out", processes=1, shard_clips=2)
    code = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] == "tensorflow" else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
try:
    import tensorflow
    sys.exit("tensorflow is there after all")
except ModuleNotFoundError:
    pass
import tensorflow_datasets as tfds
source = tfds.builder_from_directory(sys.argv[1]).as_data_source("train")
print(len(source), source[3]["id"].decode(), source[3]["labels"]["pitch"], len(source[3]["media"]))
"""
    done = run_python(code, str(tmp_path / "out"))
    size = (clips / "media" / "4.mp4").stat().st_size
    assert done.stdout.split() == ["5", "clip4", "1", str(size)], done.stderr


def test_the_number_of_processes_changes_nothing(clips, tmp_path):
    for processes, out in ((1, "one"), (2, "two")):
        build(clips, tmp_path / out, name="same", processes=processes, shard_clips=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


KILLED = """
import os, signal, sys
# A shell that starts this in the background hands down an ignored SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
from mmvideo.datasets import write_shard
from mmvideo.datasets.build import build

read = write_shard.read_clip
def read_clip(row, *settings):
    if row.id == "clip4":
        os.kill(os.getpid(), signal.SIGKILL if sys.argv[3] == "kill" else signal.SIGINT)
    return read(row, *settings)
write_shard.read_clip = read_clip
build(sys.argv[1], sys.argv[2], name="same", processes=1, shard_clips=2)
"""


@pytest.mark.parametrize("how", ["kill", "interrupt"])
def test_a_stopped_build_is_no_corpus_and_goes_on(clips, tmp_path, how):
    out = tmp_path / "out"
    done = run_python(KILLED, str(clips), str(out), how)
    assert done.returncode == (-signal.SIGKILL if how == "kill" else -signal.SIGINT), done.stderr
    if how == "interrupt":
        assert "stopped with 1 of 4 shards written; run the same command again to go on" in done.stderr
    with pytest.raises(CorpusError, match="isn't finished"):
        open_corpus(out, "train")
    first = out / "same-train.array_record-00000-of-00003"
    written = first.stat().st_mtime_ns
    with pytest.raises(BuildError, match="unfinished build of something else .*shard_clips 2, now 3"):
        build(clips, out, name="same", processes=1, shard_clips=3)
    build(clips, out, name="same", processes=1, shard_clips=2)
    assert first.stat().st_mtime_ns == written
    build(clips, tmp_path / "whole", name="same", processes=1, shard_clips=2)
    assert contents(out) == contents(tmp_path / "whole")


def test_a_finished_shard_of_other_rows_is_written_anew(clips, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(clips, source)
    assert run_python(KILLED, str(source), str(out), "kill").returncode == -signal.SIGKILL
    rows = [json.loads(line) for line in (source / "manifest.jsonl").read_text().splitlines()]
    rows[0]["captions"] = ["said in other words"]
    write_rows(source, rows)
    build(source, out, name="same", processes=1, shard_clips=2)
    corpus = open_corpus(out, "train")
    assert corpus[0].captions == corpus.table.captions[0] == ["said in other words"]


def test_a_finished_corpus_is_kept_and_defended(clips, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    shutil.copytree(clips, source)
    first = build(source, out, processes=1)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert build(source, out, processes=1) == first
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(BuildError, match="holds a corpus of something else .*gop None, now 4"):
        build(source, out, processes=1, gop=4)
    with pytest.raises(BuildError, match="holds a corpus of something else .*source"):
        build(clips, out, processes=1)
    (source / "media" / "0.mp4").write_bytes((source / "media" / "1.mp4").read_bytes())
    with pytest.raises(BuildError, match="was built before the clips or the manifest"):
        build(source, out, processes=1)
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_unreadable_clips_are_left_out_and_listed(clips, tmp_path):
    whole = (clips / "media" / "0.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "words.mp4").write_text("this is no film")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "good.mp4").write_bytes(whole)
    names = ("words.mp4", "good.mp4", "half.mp4", "empty.wav")
    write_rows(tmp_path, [{"id": name, "media": name} for name in names])
    summary = build(tmp_path, tmp_path / "out", processes=1)
    assert summary.clips == 1 and [name for name, _ in summary.skipped] == ["words.mp4", "half.mp4", "empty.wav"]
    listed = [json.loads(line) for line in (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()]
    assert [(entry["id"], entry["reason"]) for entry in listed] == summary.skipped
    assert all(len(entry["reason"]) > 10 and "\n" not in entry["reason"] for entry in listed)
    assert open_corpus(tmp_path / "out", "train")[0].id == "good.mp4"


def test_skipped_clips_whose_names_hold_line_separators_are_read_back(clips, tmp_path):
    (tmp_path / "words.mp4").write_text("this is no film")
    names = {"words\u2028one": "words.mp4", "good": str(clips / "media" / "0.mp4"), "two\u0085": "words.mp4"}
    write_rows(tmp_path, [{"id": name, "media": media} for name, media in names.items()])
    first = build(tmp_path, tmp_path / "out", processes=1, allow_outside=True)
    assert [name for name, _ in first.skipped] == ["words\u2028one", "two\u0085"]
    assert build(tmp_path, tmp_path / "out", processes=1, allow_outside=True) == first


def test_text_and_names_that_are_not_utf8_do_not_end_a_build(clips, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    media = (clips / "media" / "0.mp4").read_bytes()
    try:
        with open(os.fsencode(source) + b"/caf\xe9.mp4", "wb") as file:
            file.write(media)
        with open(os.fsencode(source) + b"/b\xe4d.mp4", "wb") as file:
            file.write(media[:300])
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    summary = build(source, tmp_path / "found", processes=1)
    assert summary.clips == 1 and summary.skipped[0][0] == r"b\xe4d"
    record = open_corpus(tmp_path / "found", "train")[0]
    assert record.id == r"caf\xe9" and record.media == media
    rows = [
        {"id": "latin", "media": "caf\udce9.mp4", "caption": "fine"},
        {"id": "half\ud83d", "media": "caf\udce9.mp4"},
        {"id": "words", "media": "caf\udce9.mp4", "captions": ["a dog \ud83d"]},
    ]
    summary = build(write_rows(source, rows), tmp_path / "told", processes=2, shard_clips=1, tokenizer_vocabulary=30)
    assert summary.splits == {"train": 1} and [clip for clip, _ in summary.skipped] == [r"half\ud83d", "words"]
    assert summary.skipped[1][1].startswith(f"{source / 'manifest.jsonl'}:3: 'captions' holds \\ud83d")
    assert build(source, tmp_path / "told", processes=1, shard_clips=1, tokenizer_vocabulary=30) == summary
    odd = tmp_path / "o\udce9"
    shutil.copytree(source, odd)
    assert build(odd, tmp_path / "odd", processes=1).clips == 1
    assert build(odd, tmp_path / "odd", processes=1).clips == 1
    with pytest.raises(BuildError, match=r"o\\xe9: its name isn't UTF-8"):
        build(source, odd, processes=1)
    with pytest.raises(CorpusError, match=r"o\\xe9: its name isn't UTF-8"):
        open_corpus(odd, "train")


def test_no_readable_clip_is_an_error_and_leaves_no_corpus(tmp_path):
    (tmp_path / "words.mp4").write_text("this is no film")
    write_rows(tmp_path, [{"id": "only", "media": "words.mp4"}])
    with pytest.raises(BuildError, match="none of its 1 clips can be read .only: "):
        build(tmp_path, tmp_path / "out", processes=1)
    with pytest.raises(CorpusError, match="isn't finished"):
        open_corpus(tmp_path / "out", "train")


def test_a_cut_is_exact_to_the_frame(clips, tmp_path):
    from mmvideo.media.decode import decode

    media = str(clips / "media" / "0.mp4")
    rows = [
        {"id": "cut", "media": media, "start": 0.375, "end": 0.75},
        {"id": "placed", "media": media, "start": 100.0, "end": 101.0},
        {"id": "outside", "media": media, "start": 5.0, "end": 9.0},
        {"id": "sound", "media": str(clips / "media" / "5.mp4"), "start": 0.25},
    ]
    summary = build(write_rows(tmp_path, rows), tmp_path / "out", processes=1, allow_outside=True)
    assert [name for name, _ in summary.skipped] == ["outside"] and "lies outside of the file" in summary.skipped[0][1]
    corpus = open_corpus(tmp_path / "out", "train")
    clip = decode(corpus[0].media)
    np.testing.assert_allclose(clip.frames.mean((1, 2, 3)), [16 + 24 * n for n in (3, 4, 5)], atol=3)
    assert abs(len(clip.samples) / clip.sample_rate - 0.375) < 0.07
    # A file as long as its cut, which lies beyond its end, was cut before.
    assert corpus[1].media == Path(media).read_bytes() and corpus.attributes(1) == {"start": 100.0, "end": 101.0}
    assert not corpus.table.has_video[2] and abs(corpus.table.seconds[2] - 0.75) < 0.1


def test_media_is_transcoded_and_never_enlarged(clips, tmp_path):
    from mmvideo.media.probe import probe

    build(clips, tmp_path / "small", processes=1, short_side=16, fps=4)
    corpus = open_corpus(tmp_path / "small", "train")
    assert corpus.table.height.tolist() == [16] * 4 + [0] and corpus.table.width.tolist() == [24] * 4 + [0]
    np.testing.assert_allclose(corpus.table.fps, [4, 4, 4, 4, 0])
    assert corpus.table.has_audio.tolist() == [True, True, False, True, True]
    assert probe(corpus[0].media).frames == 4
    build(clips, tmp_path / "large", processes=1, short_side=64)
    corpus = open_corpus(tmp_path / "large", "train")
    assert corpus[0].media == (clips / "media" / "0.mp4").read_bytes()


def test_a_tokenizer_of_the_training_captions(clips, tmp_path):
    from mmvideo.media.text import Tokenizer

    build(clips, tmp_path / "out", processes=1, tokenizer_vocabulary=40)
    tokenizer = Tokenizer.load(open_corpus(tmp_path / "out", "test").tokenizer_path)
    assert tokenizer.decode(tokenizer.encode("a tone of 400 hertz")) == "a tone of 400 hertz"
    build(clips, tmp_path / "timed", processes=1, tokenizer_vocabulary=60, time_tokens=10)
    timed = Tokenizer.load(open_corpus(tmp_path / "timed", "test").tokenizer_path)
    assert (tokenizer.time_tokens, timed.time_tokens) == (0, 10)
    with pytest.raises(BuildError, match="give tokenizer_vocabulary too"):
        build(clips, tmp_path / "other", processes=1, time_tokens=10)
    write_rows(tmp_path, [{"id": "mute", "media": str(clips / "media" / "0.mp4")}])
    with pytest.raises(BuildError, match="has no captions to train a tokenizer on"):
        build(tmp_path, tmp_path / "mute", processes=1, allow_outside=True, tokenizer_vocabulary=40)


def test_places_where_no_corpus_may_go(clips, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("dear")
    (tmp_path / "file").write_text("")
    for out, said in (("full", "isn't empty and no corpus"), ("file", "is a file")):
        with pytest.raises(BuildError, match=said):
            build(clips, tmp_path / out, processes=1)
    with pytest.raises(BuildError, match="can't lie in the folder of its own clips"):
        build(clips, clips, processes=1)
    with pytest.raises(BuildError, match="shard_clips must be greater than 0, not 0"):
        build(clips, tmp_path / "out", shard_clips=0)
    assert (tmp_path / "full" / "thesis.tex").read_text() == "dear"


def test_two_builds_of_one_folder_at_once(clips, tmp_path):
    work = tmp_path / "out" / ".building"
    work.mkdir(parents=True)
    with open(work / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match="another process is building"):
            build(clips, tmp_path / "out", processes=1)
    assert build(clips, tmp_path / "out", processes=1).clips == 6


class _Deadly:
    """Ends the process that unpickles it, as a crash in a decoder would."""

    def __reduce__(self):
        return os._exit, (1,)


def test_a_crashed_process_is_told(tmp_path):
    task = ShardTask(tmp_path / "x", tmp_path / "y", (), {"label": _Deadly()}, Recipe(), "")
    with pytest.raises(WorkerDied, match="the finished shards are kept"):
        run_tasks([task, task], [task, task], 2, progress=False)
