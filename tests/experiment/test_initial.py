"""A run that starts from another one's parameters: of other sizes, with other objectives, or not at all."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from mmvideo.experiment.initial import start_from
from mmvideo.experiment.run import run
from mmvideo.input.config import Masking
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive, LatentPrediction
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec
from mmvideo.training.checkpoint import CheckpointError, Checkpoints
from mmvideo.training.config import Training
from mmvideo.training.state import begun, draw_up

MODEL = Model(depth=2, width=16, heads=2, feed_forward=16, fusion=Fusion("late"), position="learned")
SMALL = StreamSpec(PatchSpec((2, 4, 4, 3), (4, 2, 3), 0.5), PatchSpec((4, 8), (6, 2, 1), 0.2), TextSpec(50, 8, 4))
LARGE = StreamSpec(PatchSpec((2, 4, 4, 3), (8, 2, 3), 0.25), PatchSpec((4, 8), (9, 2, 1), 0.2), TextSpec(50, 12, 4))
MESH = Mesh(fsdp=2)
ASSETS = {"tokenizer.model": b"pieces"}


def blueprint(model=MODEL, spec=SMALL, objectives=None, **training):
    objectives = objectives or {"contrastive": Contrastive()}
    config = Training(**training)
    return draw_up(lambda rngs: Learner(model, spec, objectives, rngs=rngs), config, make_mesh(MESH)), config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder with a checkpoint of a small model, and its parameters by name."""
    folder = tmp_path_factory.mktemp("trained")
    state = blueprint(seed=7)[0].create()
    assets = {"spec.json": json.dumps(dataclasses.asdict(SMALL)).encode(), **ASSETS}
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(3, state, assets)
        checkpoints.wait()
        return folder, checkpoints.parameters()


def named(params):
    return {".".join(map(str, path)): np.asarray(leaf) for path, leaf in nnx.to_flat_state(nnx.State(params))}


def begin(folder, assets=ASSETS, **changes):
    """A new run's state, and the state that it would have had without `init`."""
    plan, config = blueprint(init=str(folder), ema=0.9, **changes)
    fresh = plan.create()
    return begun(plan, fresh, lambda learner: start_from(config, assets, learner)), fresh, plan


def test_parameters_come_from_the_checkpoint_and_lie_where_they_should(trained, capsys):
    folder, old = trained
    state, _, plan = begin(folder / "checkpoints" / "3")
    for name, value in named(state.params).items():
        np.testing.assert_array_equal(value, old[name], err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, state.params, state.ema)
    assert jax.tree.all(jax.tree.map(lambda x, abstract: x.sharding == abstract.sharding, state, plan.abstract))
    assert f"{len(old)} parameters from step 3" in capsys.readouterr().out


def test_tables_are_interpolated_to_a_longer_clip_spectrogram_and_text(trained):
    folder, old = trained
    state, fresh, _ = begin(folder, spec=LARGE)
    got, new, place = named(state.params), named(fresh.params), "trunk.position.tables."
    video, audio, text = (old[place + name] for name in ("video_time", "audio_time", "text_x"))
    # Twice the frames a second: each row lies a quarter of a row beside an old one.
    between = np.stack([np.interp(np.arange(8) / 2 - 0.25, np.arange(4), column) for column in video.T], axis=1)
    np.testing.assert_allclose(got[place + "video_time"], between, atol=1e-6)
    # Sound that lasts longer: the table is stretched to it.
    stretched = [np.interp((np.arange(9) + 0.5) / 1.5 - 0.5, np.arange(6), column) for column in audio.T]
    np.testing.assert_allclose(got[place + "audio_time"], np.stack(stretched, axis=1), atol=1e-6)
    np.testing.assert_array_equal(got[place + "text_x"], np.concatenate([text, new[place + "text_x"][8:]]))
    np.testing.assert_array_equal(got[place + "video_x"], old[place + "video_x"])


def test_a_model_of_frames_goes_on_with_tubelets(tmp_path):
    frames = dataclasses.replace(SMALL, video=PatchSpec((1, 4, 4, 3), (8, 2, 3), 0.25))
    old = blueprint(spec=frames, seed=7)[0].create()
    assets = {"spec.json": json.dumps(dataclasses.asdict(frames)).encode(), **ASSETS}
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(3, old, assets)
    for how, share in (("central", [0, 1]), ("mean", [0.5, 0.5])):
        got = named(begin(tmp_path, inflation=how)[0].params)["trunk.embed.video.dense.kernel"]
        kernel = named(old.params)["trunk.embed.video.dense.kernel"]
        np.testing.assert_array_equal(got, np.concatenate([kernel * share[0], kernel * share[1]]))


def test_what_only_one_model_has_is_told(trained, capsys):
    folder, old = trained
    state, fresh, _ = begin(
        folder, objectives={"latent": LatentPrediction()}, spec=dataclasses.replace(SMALL, text=None)
    )
    got, new = named(state.params), named(fresh.params)
    for name in got:
        source = old if name.startswith("trunk.") else new
        np.testing.assert_array_equal(got[name], source[name], err_msg=name)
    teacher = named(state.variables["heads"]["latent"]["teacher"]["parameters"])
    np.testing.assert_array_equal(teacher["position.tables.video_y"], old["trunk.position.tables.video_y"])
    told = capsys.readouterr().out
    assert "new: " in told and "heads.latent" in told
    assert "left out: " in told and "heads.contrastive" in told and "trunk.embed" in told


def test_another_width_is_one_clear_error_and_can_be_left_out(trained):
    folder, old = trained
    with pytest.raises(
        CheckpointError, match=r"training.init .*trained0 \(step 3\) does not fit: \S+ is \[.*16.*\] there and \[.*24"
    ):
        begin(folder, model=dataclasses.replace(MODEL, width=24))
    wider = dataclasses.replace(MODEL, feed_forward=24)
    with pytest.raises(CheckpointError, match=r"does not fit: trunk\.blocks\.\S+ is .*init_fresh"):
        begin(folder, model=wider)
    names = [name for name in old if "trunk.blocks.up" in name or "trunk.blocks.down" in name]
    state, fresh, _ = begin(folder, model=wider, init_fresh=tuple(names))
    np.testing.assert_array_equal(named(state.params)[names[0]], named(fresh.params)[names[0]])


def test_another_tokenizer_is_an_error(trained):
    with pytest.raises(CheckpointError, match=r"another tokenizer.*record/tokenizer.model.*init_fresh"):
        begin(trained[0], assets={"tokenizer.model": b"others"})
    begin(trained[0], assets={"tokenizer.model": b"others"}, init_fresh=("trunk.embed.text.*",))


def test_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint there; give a run's folder"):
        begin(tmp_path)


@pytest.mark.slow
def test_a_run_goes_on_at_another_size(tiny, tmp_path, monkeypatch):
    """Two steps on small frames, then one that changes nothing on larger and more frames and shorter sound."""
    monkeypatch.setattr("mmvideo.experiment.run._conclude", lambda *_: 0)  # no report
    model = dataclasses.replace(tiny.model, position="learned_1d", depth=2, fusion=Fusion("late"))
    plain = dataclasses.replace(
        tiny,
        model=model,
        objectives={"contrastive": Contrastive(pairs=("video-audio",))},
        input=dataclasses.replace(tiny.input, masking=Masking()),
        evaluation=dataclasses.replace(tiny.evaluation, retrieval=False, probes=(), losses=False),
        training=dataclasses.replace(tiny.training, steps=2),
    )
    assert run(plain, tmp_path / "small") == 0
    given, still = plain.input, dataclasses.replace(plain.training.optimizer, learning_rate=0.0, warmup=0)
    larger = dataclasses.replace(
        plain,
        input=dataclasses.replace(
            given,
            video=dataclasses.replace(given.video, size=48, fps=8.0, frames=16),
            audio=dataclasses.replace(given.audio, seconds=1.2),
            packing=dataclasses.replace(given.packing, tokens=200),
        ),
        training=dataclasses.replace(plain.training, steps=1, optimizer=still, init=str(tmp_path / "small")),
    )
    assert run(larger, tmp_path / "large") == 0
    old, new = (Checkpoints(tmp_path / name / "checkpoints").parameters() for name in ("small", "large"))
    name = "trunk.position.tables."
    assert old[name + "video"].shape[0] == 4 * 2 * 2 and new[name + "video"].shape[0] == 8 * 3 * 3
    np.testing.assert_allclose(new[name + "audio"], old[name + "audio"][: len(new[name + "audio"])], atol=1e-6)
    np.testing.assert_array_equal(new["trunk.blocks.out_bias"], old["trunk.blocks.out_bias"])
    # The middle of nine cells over four is their mean, as bicubic weights are even; in time they lie between.
    corners = old[name + "video"].reshape(4, 4, -1).mean(axis=1)
    middle = np.stack([np.interp(np.arange(8) / 2 - 0.25, np.arange(4), column) for column in corners.T], axis=1)
    np.testing.assert_allclose(new[name + "video"].reshape(8, 9, -1)[:, 4], middle, atol=1e-5)
