"""A run is resumed on what it was trained on, wherever that lies now, and on nothing else."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
from training_toy import ToyBatches, quick, toy_train

from mmvideo.datasets.build import build
from mmvideo.experiment.config import Experiment, to_json
from mmvideo.input.config import Audio, Input, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.media.config import Spectrogram
from mmvideo.training.checkpoint.checkpoint_manifest import make_record
from mmvideo.training.config import Training
from mmvideo.training.loop import _assets
from mmvideo.training.resume_checks import check_resumed, kept_files, moved_paths
from mmvideo.training.workdir import RESUMABLE_FIELDS, WorkdirError


def settings(corpus: Path, **changes) -> Experiment:
    config = Input(
        sources=(Source(str(corpus)),),
        video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
        audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
        text=Text(length=24),
        packing=Packing(rows=8, tokens=40, clips=2),
    )
    return Experiment(name="small", input=dataclasses.replace(config, **changes), training=Training(steps=9))


def files_of(experiment: Experiment) -> dict[str, bytes]:
    """What a checkpoint of this run holds beside its arrays."""
    return _assets(Batches(experiment.input), to_json(experiment))


@pytest.fixture
def trained(shapes, tmp_path) -> Path:
    """A workdir with a checkpoint's record of a run on the shapes, which was not trained."""
    record = tmp_path / "run" / "checkpoints" / "3" / "record"
    record.mkdir(parents=True)
    for name, data in make_record({}, files_of(settings(shapes))).files.items():
        (record / name).write_bytes(data)
    return tmp_path / "run"


def resume(workdir: Path, experiment: Experiment, **changed: bytes) -> None:
    there = kept_files(workdir / "checkpoints")
    here = files_of(experiment) | {name.replace("_", "."): data for name, data in changed.items()}
    check_resumed(workdir, there, here, (*RESUMABLE_FIELDS, *moved_paths(there)))


def manifest_of(shapes: Path) -> list[dict]:
    path = shapes.parent / "clips" / "manifest.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def rebuilt(shapes: Path, out: Path, change) -> Path:
    """A corpus of the same clips whose manifest is changed."""
    source = out.with_name(f"{out.name}-clips")
    shutil.copytree(shapes.parent / "clips", source)
    rows = change(manifest_of(shapes))
    (source / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(source, out, tokenizer_vocabulary=128, processes=1, progress=False)
    return out


def test_the_same_corpus_is_accepted_wherever_it_lies(trained, shapes, tmp_path):
    resume(trained, settings(shapes))
    moved = tmp_path / "moved"
    shutil.copytree(shapes, moved)
    resume(trained, settings(moved))
    model = tmp_path / "same.model"
    shutil.copy(shapes / "tokenizer.model", model)
    resume(trained, settings(moved, text=Text(length=24, tokenizer=str(model))))


def test_a_corpus_with_permuted_labels_is_refused(trained, shapes, tmp_path):
    def permute(rows):
        kind = next(iter(rows[0]["labels"]))
        values = [row["labels"][kind] for row in rows]
        return [row | {"labels": row["labels"] | {kind: values[-1 - place]}} for place, row in enumerate(rows)]

    other = rebuilt(shapes, tmp_path / "other", permute)
    with pytest.raises(WorkdirError, match=r"input\.sources\.0 is another corpus \(40 clips, digest .* 40 clips"):
        resume(trained, settings(other))


def test_a_corpus_with_fewer_clips_is_refused_with_both_numbers(trained, shapes, tmp_path):
    other = rebuilt(shapes, tmp_path / "other", lambda rows: rows[5:])
    with pytest.raises(WorkdirError, match=r"40 clips, digest .* there; 35 clips, digest .* here.*--input\.sources"):
        resume(trained, settings(other))


def test_a_tokenizer_of_the_same_size_is_refused_by_its_pieces(trained, shapes, tmp_path):
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString((shapes / "tokenizer.model").read_bytes())
    names = [piece.piece for piece in model.pieces]
    for number, name in enumerate(names[60:112], 60):  # Another order of 52 pieces.
        model.pieces[171 - number].piece = name
    (tmp_path / "other.model").write_bytes(model.SerializeToString())
    other = settings(shapes, text=Text(length=24, tokenizer=str(tmp_path / "other.model")))
    with pytest.raises(WorkdirError, match=r"the tokenizer is another one: 52 of 128 pieces differ, such as number 60"):
        resume(trained, other)


def test_the_spectrogram_and_the_classes_are_compared(trained, shapes):
    other = settings(shapes, audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32, mean=-3.0), patch=(20, 16)))
    with pytest.raises(WorkdirError, match=r"spectrogram: mean \(.* there, -3\.0 here\)"):
        resume(trained, other)
    classes = json.loads(files_of(settings(shapes))["classes.json"])
    kind = next(iter(classes))
    swapped = json.dumps(classes | {kind: classes[kind][::-1]}).encode()
    with pytest.raises(WorkdirError, match=rf"classes: {kind}\.0 \("):
        resume(trained, settings(shapes), classes_json=swapped)
    more = json.dumps(classes | {kind: [*classes[kind], "another"]}).encode()
    with pytest.raises(WorkdirError, match=r'\("absent" there, "another" here\)'):
        resume(trained, settings(shapes), classes_json=more)


def test_a_changed_setting_is_found_in_the_copy_of_the_checkpoint(trained, shapes):
    other = dataclasses.replace(settings(shapes), training=Training(steps=9, seed=7))
    with pytest.raises(WorkdirError, match=r"config: training\.seed \(0 there, 7 here\)"):
        resume(trained, other)


def test_checkpoints_of_before_there_were_digests_are_resumed_where_they_lie(trained, shapes, tmp_path):
    record = trained / "checkpoints" / "3" / "record"
    old = {name: data for name, data in files_of(settings(shapes)).items() if name != "corpora.json"}
    shutil.rmtree(record)
    record.mkdir()
    for name, data in make_record({}, old).files.items():
        (record / name).write_bytes(data)
    resume(trained, settings(shapes))
    assert moved_paths(kept_files(trained / "checkpoints")) == ("input.text.tokenizer",)


def test_nothing_is_written_where_a_resume_is_refused(tmp_path):
    class Others(ToyBatches):
        def assets(self):
            return {"tokenizer.model": b"\x00\x02pieces", "statistics.json": {"mean": -4.0}}

    toy_train(tmp_path, quick(steps=4, save_every=2), ToyBatches())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(WorkdirError, match=r"statistics: mean \(-4\.5 there, -4\.0 here\); tokenizer\.model differs"):
        toy_train(tmp_path, quick(steps=8, save_every=2), Others())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert int(toy_train(tmp_path, quick(steps=6, save_every=2), ToyBatches()).step) == 6


def test_a_changed_config_json_that_is_trained_from_is_refused(tmp_path):
    config = quick(steps=4, save_every=2)
    toy_train(tmp_path, config, ToyBatches())
    changed = (tmp_path / "config.json").read_text().replace('"seed": 0', '"seed": 8')
    (tmp_path / "config.json").write_text(changed)
    with pytest.raises(WorkdirError, match=r"config: training\.seed \(0 there, 8 here\)"):
        toy_train(tmp_path, dataclasses.replace(config, seed=8), ToyBatches(), config_json=changed)
