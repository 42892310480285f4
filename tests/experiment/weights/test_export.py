"""A checkpoint written for inference: its average, exact or as bfloat16, opened by all that opens a run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from mmvideo.cli.main import main
from mmvideo.experiment.build_learner import make_learner
from mmvideo.experiment.config import Experiment, load_experiment, to_json
from mmvideo.experiment.run import run
from mmvideo.experiment.weights.export import export
from mmvideo.experiment.weights.load import load, restore
from mmvideo.experiment.weights.warm_start import open_source
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video
from mmvideo.input.pipeline import Batches
from mmvideo.media.config import Spectrogram
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive, LatentPrediction
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints, DamagedCheckpoint
from mmvideo.training.checkpoint.retention import Best, write_best
from mmvideo.training.config import Training
from mmvideo.training.state import TrainState, init_abstract
from mmvideo.training.workdir import create_or_validate_workdir


@pytest.fixture(scope="module")
def trained(shapes, tmp_path_factory) -> tuple[Path, TrainState]:
    """A run's folder with checkpoints of steps 3 (the best) and 5, never trained; and the state of step 5."""
    folder = tmp_path_factory.mktemp("trained")
    experiment = Experiment(
        name="small",
        input=Input(
            sources=(Source(str(shapes)),),
            video=Video(fps=4.0, frames=4, size=32, tubelet=(2, 16, 16)),
            audio=Audio(seconds=1.0, spectrogram=Spectrogram(bins=32), patch=(20, 16)),
            text=Text(length=24, begin=True),
            packing=Packing(rows=8, tokens=40, clips=2),
            masking=Masking(video=0.5),
            threads=1,
        ),
        model=Model(depth=2, width=16, heads=2, feed_forward=32, compute="float32", fusion=Fusion("late")),
        objectives={
            "contrastive": Contrastive(pairs=("video-text",), width=8),
            "latent": LatentPrediction(audio=0.0),
        },
        training=Training(steps=900, ema=0.9, tensorboard=False),
        mesh=Mesh(data=2, fsdp=4),
    )
    batches = Batches(experiment.input)
    plan = init_abstract(
        lambda rngs: make_learner(experiment, batches.spec, rngs), experiment.training, make_mesh(experiment.mesh)
    )
    state = plan.create()
    files = {n: a if isinstance(a, bytes) else json.dumps(a).encode() for n, a in batches.assets().items()}
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for step in (3, 5):
            ema = jax.tree.map(lambda leaf, step=step: leaf * (1 + 0.01 * step), state.params)
            state = dataclasses.replace(state, ema=ema, step=jnp.int32(step))
            checkpoints.save(step, state, files | {"config.json": to_json(experiment).encode()})
    write_best(folder / "checkpoints", Best(3, "retrieval/text_to_video/r@1", "max", 0.5))
    (folder / "config.json").write_text(to_json(experiment))
    return folder, state


def named(tree) -> dict[str, np.ndarray]:
    return {
        jax.tree_util.keystr(p, simple=True, separator="."): np.asarray(v) for p, v in jax.tree.leaves_with_path(tree)
    }


def of(learner) -> dict[str, np.ndarray]:
    return named(nnx.to_pure_dict(nnx.state(learner, nnx.Param)))


def test_the_average_is_exported_exactly_and_opens_on_another_mesh(trained, tmp_path, capsys):
    folder, state = trained
    assert main(["export", str(folder), str(tmp_path / "out")]) == 0
    assert "step 5 of small, moving average" in capsys.readouterr().out
    opened = load(tmp_path / "out")
    assert opened.step == 5 and opened.experiment.mesh == Mesh()
    found, wanted = of(opened.learner), named(state.ema)
    assert found.keys() == wanted.keys()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    assert opened.assets.keys() >= {"tokenizer.model", "spectrogram.json", "spec.json", "config.json", "export.json"}
    place = tmp_path / "out" / "checkpoints" / "5"
    assert {path.name for path in place.iterdir() if path.is_dir()} == {"params", "record", "written"}
    note = json.loads((tmp_path / "out" / "export.json").read_text())
    assert note["average"] == "moving" and note["numbers"] == sum(value.size for value in wanted.values())
    # The teacher of an objective is made anew from the model.
    teacher = named(nnx.to_pure_dict(nnx.state(opened.learner.heads["latent"].teacher)))
    backbone = {name.removeprefix("trunk."): value for name, value in found.items() if name.startswith("trunk.")}
    assert len(teacher) > 10
    assert all(any(np.array_equal(value, own) for own in backbone.values()) for value in teacher.values())


def test_bfloat16_halves_the_matrices_and_rounds_nothing_else(trained, tmp_path):
    folder, state = trained
    made = export(folder, tmp_path / "out", dtype="bfloat16")
    assert made.bytes < 0.7 * 4 * made.numbers
    found, wanted = of(load(tmp_path / "out").learner), named(state.ema)
    for name, value in wanted.items():
        rounded = value.astype(jnp.bfloat16).astype(np.float32) if name.endswith("kernel") else value
        np.testing.assert_array_equal(found[name], rounded, err_msg=name)
        assert found[name].dtype == np.float32
    assert open_source(tmp_path / "out").parameters.keys() == wanted.keys()


def test_the_best_is_taken_by_name(trained, tmp_path):
    folder, _ = trained
    assert load(folder, step="best").step == 3
    assert export(folder, tmp_path / "out", step="best").step == 3
    source = open_source(folder / "checkpoints" / "best")
    assert "step 3" in source.what
    with pytest.raises(CheckpointError, match="no checkpoint of step 4"):
        load(folder, step=4)
    with pytest.raises(CheckpointError, match=r"marked as the best \(best.json\)"):
        load(tmp_path / "out", step="best")


def test_clips_are_embedded_as_by_the_run(trained, tmp_path):
    folder, _ = trained
    export(folder, tmp_path / "out")
    experiment = load_experiment(tmp_path / "out")
    clip = next(Path(experiment.input.sources[0].path).parent.joinpath("clips").rglob("*.mp4"))
    one, other = (load(place).embed([clip], ["a red circle"]) for place in (folder, tmp_path / "out"))
    assert one.keys() == other.keys() == {"video", "text"}
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)
    corpus = str(experiment.input.sources[0].path)
    words = ["predict", "embed", str(tmp_path / "out"), corpus, "--split", "test", "--out", str(tmp_path / "e.npz")]
    assert main(words) == 0 and (tmp_path / "e.npz").is_file()


def test_what_cannot_be_is_one_line(trained, tmp_path, capsys):
    folder, _ = trained
    export(folder, tmp_path / "out")
    for words, said in [
        (["export", str(folder), str(tmp_path / "out")], "is there already"),
        (["export", str(folder), str(tmp_path / "new"), "--step", "last"], "must be the step of a checkpoint, or best"),
        (["export", str(tmp_path / "none"), str(tmp_path / "new")], "there is no run"),
    ]:
        assert main(words) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
    with pytest.raises(CheckpointError, match="holds parameters alone, for inference; name it in training.init_from"):
        run(load_experiment(tmp_path / "out"), tmp_path / "out")
    damaged = max((tmp_path / "out").rglob("params/**/d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(DamagedCheckpoint, match="is damaged"):
        load(tmp_path / "out")


def test_scanned_and_unrolled_layers_take_each_others_checkpoints(trained):
    """Parameters, moments and all: the same names, shapes and bits, and a resume with the other is allowed."""
    folder, state = trained
    scanned = load_experiment(folder)
    assert scanned.model.scan
    unrolled = dataclasses.replace(scanned, model=dataclasses.replace(scanned.model, scan=False, remat="full"))
    spec, mesh = Batches(scanned.input).spec, make_mesh(Mesh(data=4, fsdp=2))
    plan = init_abstract(lambda rngs: make_learner(unrolled, spec, rngs), unrolled.training, mesh)
    resumed = Checkpoints(folder / "checkpoints").restore(plan.abstract, 5)
    for part in ("params", "opt_state", "ema"):
        one, other = named(getattr(state, part)), named(getattr(resumed, part))
        assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    assert not create_or_validate_workdir(folder, to_json(unrolled)) and not create_or_validate_workdir(
        folder, to_json(scanned)
    )
    stream = jax.device_put(Batches(scanned.input, masked=False, train=False).batch(0))
    one, other = (restore(each, folder, make_mesh(each.mesh))[0].embed(stream) for each in (scanned, unrolled))
    for name in one:
        np.testing.assert_allclose(one[name][0], other[name][0], atol=1e-5)


def test_an_export_that_was_killed_is_begun_again(trained, tmp_path, monkeypatch):
    workdir, _ = trained
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(
            "mmvideo.experiment.weights.export.NOTE", "no/such/folder\0"
        )  # Fails when the arrays are written.
        with pytest.raises(ValueError, match="plain file name|null byte"):
            export(workdir, out)
    (out / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
    assert not (out / "config.json").exists()
    assert export(workdir, out).step == 5
    assert not list(out.glob("*.unfinished")) and not list(out.rglob("*.new"))
    assert load(out).step == 5
    with pytest.raises(ValueError, match="is there already"):
        export(workdir, out)
