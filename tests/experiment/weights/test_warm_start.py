"""A run that starts from another one's parameters: of other sizes, with other objectives, or not at all."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx

from mmvideo.experiment.build_learner import configure_tuning
from mmvideo.experiment.config import to_json
from mmvideo.experiment.run import run
from mmvideo.experiment.weights.load import load, restore
from mmvideo.experiment.weights.warm_start import start_from_checkpoint
from mmvideo.input.config import Masking
from mmvideo.model.config import Fusion, Model, Sharing
from mmvideo.objectives import Classification, Contrastive, LatentPrediction
from mmvideo.objectives.learner import Learner
from mmvideo.parallel.config import Mesh
from mmvideo.parallel.mesh import make_mesh
from mmvideo.records.sealed import unseal
from mmvideo.stream import PatchSpec, StreamSpec, TextSpec
from mmvideo.training.checkpoint.checkpoints import CheckpointError, Checkpoints
from mmvideo.training.config import Lora, Training, Tuning
from mmvideo.training.state import init_abstract, warm_started

MODEL = Model(depth=2, width=16, heads=2, feed_forward=16, fusion=Fusion("late"), position="learned")
SMALL = StreamSpec(PatchSpec((2, 4, 4, 3), (4, 2, 3), 0.5), PatchSpec((4, 8), (6, 2, 1), 0.2), TextSpec(50, 8, 4))
LARGE = StreamSpec(PatchSpec((2, 4, 4, 3), (8, 2, 3), 0.25), PatchSpec((4, 8), (9, 2, 1), 0.2), TextSpec(50, 12, 4))
MESH = Mesh(fsdp=2)
ASSETS = {"tokenizer.model": b"pieces"}


def abstract_state(model=MODEL, spec=SMALL, objectives=None, **training):
    objectives = objectives or {"contrastive": Contrastive()}
    config = Training(**training)

    def build(rngs):
        learner = Learner(model, spec, objectives, rngs=rngs)
        configure_tuning(learner, config.tune, rngs)
        return learner

    return init_abstract(build, config, make_mesh(MESH)), config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder with a checkpoint of a small model, and its parameters by name."""
    folder = tmp_path_factory.mktemp("trained")
    return folder, save(folder)


def save(folder, spec=SMALL, assets=ASSETS, change=None, **settings):
    """Writes a new model as the checkpoint of step 3; gives its parameters by name."""
    plan, config = abstract_state(spec=spec, **{"seed": 7, **settings})
    state = plan.create()
    if change is not None:
        state = dataclasses.replace(state, params=change(state.params))
    files = {"spec.json": dataclasses.asdict(spec), "config.json": {"training": dataclasses.asdict(config)}}
    with Checkpoints(folder / "checkpoints") as checkpoints:
        checkpoints.save(3, state, {name: json.dumps(value).encode() for name, value in files.items()} | assets)
        checkpoints.wait()
        return checkpoints.parameters()


def named(params):
    return {".".join(map(str, path)): np.asarray(leaf) for path, leaf in nnx.to_flat_state(nnx.State(params))}


def begin(folder, assets=ASSETS, workdir=None, **changes):
    """A new run's state, and the state that it would have had without `init_from`."""
    plan, config = abstract_state(init_from=str(folder), **{"ema": 0.9, **changes})
    fresh = plan.create()
    return (
        warm_started(plan, fresh, lambda learner: start_from_checkpoint(config, assets, workdir, learner)),
        fresh,
        plan,
    )


def test_parameters_come_from_the_checkpoint_and_lie_where_they_should(trained, capsys):
    folder, old = trained
    state, _, plan = begin(folder / "checkpoints" / "3")
    for name, value in named(state.params).items():
        np.testing.assert_array_equal(value, old[name], err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, state.params, state.ema)
    assert jax.tree.all(jax.tree.map(lambda x, abstract: x.sharding == abstract.sharding, state, plan.abstract))
    told = capsys.readouterr().out
    numbers = sum(value.size for value in old.values())
    assert f"first parameters from {folder / 'checkpoints' / '3'} (step 3)" in told
    assert f"{len(old)} parameters, {numbers:>13,} elements" in told and "new" not in told and "ignored" not in told


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
    old = save(tmp_path, frames)
    for how, share in (("central", [0, 1]), ("mean", [0.5, 0.5])):
        got = named(begin(tmp_path, inflation=how)[0].params)["trunk.embed.video.dense.kernel"]
        kernel = old["trunk.embed.video.dense.kernel"]
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
    new_line, ignored = told.splitlines()[-2:]
    assert (
        new_line.startswith("  new") and "heads.latent" in new_line and "an objective that the checkpoint" in new_line
    )
    assert "ignored" in ignored and "heads.contrastive" in ignored and "trunk.embed (1)" in ignored
    assert "an objective that this run lacks" in ignored and "no text in this run" in ignored


def test_another_width_is_one_clear_error_and_can_be_left_out(trained):
    folder, old = trained
    with pytest.raises(
        CheckpointError,
        match=r"training.init_from .*trained\d+ \(step 3\) does not fit: \S+ is \[.*16.*\] there and \[.*24",
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


def test_the_record_tells_every_parameter_once(trained, tmp_path):
    """Loaded, resized, new and ignored, with shapes and reasons, in the workdir."""
    folder, old = trained
    longer = dataclasses.replace(LARGE, text=None)
    objectives = {"kind": Classification("kind", 3, ("video",))}
    _, fresh, _ = begin(folder, spec=longer, objectives=objectives, workdir=tmp_path)
    record = unseal((tmp_path / "init.json").read_bytes(), "init.json")
    assert record["source"] == f"{folder} (step 3)"
    assert {*record["loaded"], *record["resized"], *record["new"]} == named(fresh.params).keys()
    assert {*record["loaded"], *record["resized"], *record["ignored"]} == old.keys()
    counts = [len(record[group]) for group in ("loaded", "resized", "new", "ignored")]
    assert sum(counts) == len(named(fresh.params)) + counts[-1]
    tables = {name: value for name, value in record["resized"].items() if name.endswith("_time")}
    assert tables == {
        "trunk.position.tables.video_time": {"from": [4, 16], "to": [8, 16], "how": "positions"},
        "trunk.position.tables.audio_time": {"from": [6, 16], "to": [9, 16], "how": "positions"},
    }
    assert record["new"]["heads.kind.logits.dense.kernel"] == {
        "shape": [16, 3],
        "why": "an objective that the checkpoint lacks",
    }
    assert record["ignored"]["trunk.embed.text.table"] == {"shape": [50, 16], "why": "no text in this run"}
    assert record["loaded"]["trunk.blocks.up_kernel"] == [2, 16, 16]


def test_another_frame_rate_alone_is_told_as_resized(trained, tmp_path):
    faster = dataclasses.replace(SMALL, video=PatchSpec((2, 4, 4, 3), (4, 2, 3), 0.25))
    begin(trained[0], spec=faster, workdir=tmp_path)
    assert json.loads((tmp_path / "init.json").read_text())["resized"] == {
        "trunk.position.tables.video_time": {"from": [4, 16], "to": [4, 16], "how": "positions"}
    }


def test_class_tokens_and_own_layers_are_picked_by_modality(tmp_path):
    """Of a model for three modalities, a run with sound alone takes what is sound's."""
    model = dataclasses.replace(MODEL, class_tokens=1, registers=2, sharing=Sharing("nothing", "nothing"))
    old = save(tmp_path, model=model)
    sound = StreamSpec(audio=SMALL.audio)
    state, _, _ = begin(
        tmp_path, spec=sound, model=model, objectives={"kind": Classification("kind", 3, ("audio",), pooling="class")}
    )
    got = named(state.params)
    for name in ("registers", "classes"):
        np.testing.assert_array_equal(got[f"trunk.extra.{name}"], old[f"trunk.extra.{name}"][1:2])
    np.testing.assert_array_equal(got["trunk.blocks.audio.up_kernel"], old["trunk.blocks.audio.up_kernel"])
    assert not any("video" in name or "text" in name for name in got)


def test_a_modality_that_the_checkpoint_lacks_stops_the_run_until_it_is_named(tmp_path):
    model = dataclasses.replace(MODEL, class_tokens=1)
    silent = dataclasses.replace(SMALL, audio=None)
    objectives = {"contrastive": Contrastive(pairs=("video-text",))}
    old = save(tmp_path, silent, model=model, objectives=objectives)
    with pytest.raises(
        CheckpointError, match=r"trunk\.embed\.audio\.dense\.bias and 3 more of this model is not in it"
    ) as error:
        begin(tmp_path, model=model, objectives=objectives)
    assert "training.init_fresh: 'trunk.embed.audio.*' 'trunk.position.tables.audio_time' 'trunk.pos" in str(
        error.value
    )
    fresh = ("trunk.embed.audio.*", "trunk.position.tables.audio_*")
    state, new, _ = begin(tmp_path, model=model, objectives=objectives, init_fresh=fresh)
    got, new = named(state.params), named(new.params)
    np.testing.assert_array_equal(got["trunk.embed.audio.dense.kernel"], new["trunk.embed.audio.dense.kernel"])
    classes, before = got["trunk.extra.classes"], old["trunk.extra.classes"]
    np.testing.assert_array_equal(classes, np.stack([before[0], new["trunk.extra.classes"][1], before[1]]))
    with pytest.raises(
        CheckpointError, match=r"would start anew and is frozen by training.tune.*'trunk.embed.audio.\*'"
    ):
        begin(tmp_path, model=model, objectives=objectives, init_fresh=fresh, tune=Tuning("heads"))
    thawed = Tuning("heads", thaw=fresh)
    begin(tmp_path, model=model, objectives=objectives, init_fresh=fresh, tune=thawed)


def test_what_has_no_place_stops_the_run_until_it_is_named(tmp_path):
    """A checkpoint with a part that this model lacks: registers."""
    save(tmp_path, model=dataclasses.replace(MODEL, registers=2))
    with pytest.raises(
        CheckpointError, match=r"trunk\.extra\.registers of it has no place here.*init_ignore: 'trunk.ext"
    ):
        begin(tmp_path)
    state, _, _ = begin(tmp_path, init_ignore=("trunk.extra.registers",))
    assert "trunk.extra.registers" not in named(state.params)


def test_a_model_without_a_final_norm_leaves_that_of_the_checkpoint_behind(tmp_path, capsys):
    """VideoMAE and AudioMAE fine-tune so."""
    old = save(tmp_path)
    state, _, _ = begin(tmp_path, model=dataclasses.replace(MODEL, final_norm=False))
    left = [name for name in old if name.startswith("trunk.norms.")]
    assert left and named(state.params).keys() == old.keys() - set(left)
    assert "this model has no final norm" in capsys.readouterr().out


def test_a_head_of_another_shape_or_make_is_named(tmp_path):
    kinds = {"kind": Classification("kind", 5, ("video",))}
    save(tmp_path, objectives=kinds)
    fewer = {"kind": Classification("kind", 3, ("video",))}
    with pytest.raises(
        CheckpointError, match=r"logits.dense.bias is \[5\] there and \[3\] here \(and 1 more\).*init_fresh"
    ):
        begin(tmp_path, objectives=fewer)
    asking = {"kind": Classification("kind", 5, ("video",), pooling="map")}
    with pytest.raises(
        CheckpointError, match=r"pooler.attention.\S+ and \d+ more of this model is not in it.*init_fresh"
    ):
        begin(tmp_path, objectives=asking)
    for objectives in (fewer, asking):
        state, fresh, _ = begin(tmp_path, objectives=objectives, init_fresh=("heads.kind.*",))
        name = "heads.kind.logits.dense.kernel"
        np.testing.assert_array_equal(named(state.params)[name], named(fresh.params)[name])


def test_as_many_other_classes_are_an_error(tmp_path):
    objectives = {"kind": Classification("kind", 2, ("video",))}
    names = {"classes.json": json.dumps({"kind": ["cat", "dog"]}).encode()}
    save(tmp_path, objectives=objectives, assets=ASSETS | names)
    begin(tmp_path, ASSETS | names, objectives=objectives)
    others = ASSETS | {"classes.json": json.dumps({"kind": ["dog", "cat"]}).encode()}
    with pytest.raises(CheckpointError, match=r"other classes of kind .*init_fresh name 'heads.kind.\*'"):
        begin(tmp_path, others, objectives=objectives)
    begin(tmp_path, others, objectives=objectives, init_fresh=("heads.kind.*",))


def test_a_pattern_that_matches_nothing_is_an_error(trained):
    for field in ("init_fresh", "init_ignore"):
        with pytest.raises(ValueError, match=rf"training.{field}: no parameter matches 'trunk.nothing'"):
            begin(trained[0], **{field: ("trunk.nothing",)})


def test_low_rank_updates_start_on_a_checkpoint_and_are_merged_by_the_next(trained, tmp_path):
    folder, old = trained
    tune = Tuning("lora", Lora(2, 6.0, ("query", "out")))
    state, _, _ = begin(folder, tune=tune, ema=None)
    got = named(state.params)
    for name in old:
        np.testing.assert_array_equal(got[name], old[name], err_msg=name)
    added = {name: value for name, value in got.items() if name not in old}
    assert all(".lora." in name for name in added)

    def stir(params):
        lora = dict(params["trunk"]["blocks"]["lora"])
        lora["out_b_kernel"] = lora["out_b_kernel"] + 0.5
        backbone = {**params["trunk"], "blocks": {**params["trunk"]["blocks"], "lora": lora}}
        return {**params, "trunk": backbone}

    tuned = save(tmp_path, change=stir, tune=tune)
    merged = named(begin(tmp_path)[0].params)
    a, b = (tuned[f"trunk.blocks.lora.out_{letter}_kernel"] for letter in "ab")
    wanted = tuned["trunk.blocks.out_kernel"] + 3.0 * np.einsum("nhkr,nrd->nhkd", a, b)
    np.testing.assert_allclose(merged["trunk.blocks.out_kernel"], wanted, atol=1e-5)
    np.testing.assert_allclose(merged["trunk.blocks.qkv_kernel"], tuned["trunk.blocks.qkv_kernel"], atol=1e-6)
    assert not any(".lora." in name for name in merged)


@pytest.mark.slow(reason="two runs of different programs")
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
        training=dataclasses.replace(plain.training, steps=1, optimizer=still, init_from=str(tmp_path / "small")),
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


@pytest.mark.slow(reason="a run, then two models opened")
def test_a_run_is_tuned_from_end_to_end(tiny, copied, tmp_path, monkeypatch, capsys):
    """Pretrained on three modalities, tuned to classify pictures by low-rank updates, averaged, measured, opened."""
    monkeypatch.setattr("mmvideo.experiment.run._conclude", lambda *_: 0)  # no report
    plain = dataclasses.replace(tiny, evaluation=dataclasses.replace(tiny.evaluation, retrieval=False, probes=()))
    capsys.readouterr()
    tuned = dataclasses.replace(
        plain,
        objectives={"kind": Classification("visual", 64, ("video",)), "pairs": Contrastive(pairs=("video-text",))},
        input=dataclasses.replace(plain.input, audio=None, masking=Masking()),
        training=dataclasses.replace(
            plain.training,
            ema=None,
            average_from=3,
            init_from=str(copied),
            tune=Tuning("lora", Lora(2, 4.0)),
        ),
    )
    assert run(tuned, tmp_path / "tuned") == 0
    told = capsys.readouterr().out
    assert "no audio in this run" in told and "low-rank updates" in told and "training " in told
    assert (tmp_path / "tuned" / "init.json").is_file()
    old, new = (Checkpoints(place / "checkpoints").parameters() for place in (copied, tmp_path / "tuned"))
    for name in new.keys() & old.keys():
        if name.startswith("trunk."):
            np.testing.assert_array_equal(new[name], old[name], err_msg=name)
    assert new["trunk.blocks.lora.value_b_kernel"].any()
    (tmp_path / "tuned" / "config.json").write_text(to_json(tuned))
    opened = load(tmp_path / "tuned")
    assert not hasattr(opened.learner.trunk.blocks, "lora")
    plain_embed, _, _ = restore(tuned, tmp_path / "tuned", make_mesh(Mesh()))
    merged, whole = opened.learner.trunk.blocks.layers(), plain_embed.trunk.blocks.layers()
    for name, value in whole.items():
        np.testing.assert_allclose(merged[name], value, atol=1e-6, err_msg=name)
    assert opened.embed(texts=["a red circle"])["text"].shape == (1, 128)
