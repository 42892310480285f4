"""A recipe and its JSON load to equal experiments; what is wrong in either is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmvideo.experiment.config import ConfigError, Experiment, from_json, load_experiment, to_json

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "configs").rglob("*.py"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_survives_json(recipe):
    experiment = load_experiment(recipe)
    assert from_json(to_json(experiment)) == experiment
    assert "COMMAND" in recipe.read_text(encoding="utf-8").split('"""')[1]


def test_json_from_before_a_field_takes_its_default():
    experiment = load_experiment(RECIPES[0])
    raw = json.loads(to_json(experiment))
    assert raw["mesh"].pop("context") == 1
    assert from_json(json.dumps(raw)) == experiment


def test_unknown_field_in_json_is_named():
    raw = json.loads(to_json(load_experiment(RECIPES[0])))
    raw["training"]["optimizer"]["momentum"] = 0.9
    with pytest.raises(ConfigError, match="training.optimizer.momentum"):
        from_json(json.dumps(raw))


def test_wrong_value_in_json_is_named():
    raw = json.loads(to_json(load_experiment(RECIPES[0])))
    raw["training"]["steps"] = "many"
    with pytest.raises(ConfigError, match="training.steps"):
        from_json(json.dumps(raw))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("experiment = 3\n", "must define"),
        ("from mmvideo.model.config import Model\nexperiment = Model(depht=3)\n", "line 2"),
        ("this is bare English\n", "line 1"),
    ],
)
def test_a_wrong_recipe_says_where(tmp_path, text, words):
    path = tmp_path / "recipe.py"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_experiment(path)


def test_a_recipe_may_name_several_experiments(tmp_path):
    path = tmp_path / "recipe.py"
    names = "\n".join(f"{name} = Experiment(name='{name}')" for name in ("experiment", "tiny"))
    path.write_text(f"from mmvideo.experiment import Experiment\n{names}\n")
    assert load_experiment(path).name == load_experiment(f"{path}:experiment").name == "experiment"
    assert load_experiment(f"{path}:tiny").name == "tiny"
    with pytest.raises(ConfigError, match="must define `huge = .*; it has experiment, tiny"):
        load_experiment(f"{path}:huge")


def test_a_workdir_loads_like_its_config(tmp_path):
    experiment = Experiment(name="x")
    (tmp_path / "config.json").write_text(to_json(experiment))
    assert load_experiment(tmp_path) == experiment


def test_heads_of_a_run_from_before_after_fusion_read_what_they_were_trained_on():
    experiment = load_experiment(ROOT / "configs" / "quickstart" / "finetune.py")
    raw = json.loads(to_json(experiment))
    for one in raw["objectives"].values():
        one.pop("after_fusion", None)
    old = from_json(json.dumps(raw))
    assert old.objectives["motion"].after_fusion and old.objectives["sound"].after_fusion
    assert not experiment.objectives["motion"].after_fusion, "a new one is of the picture alone"
    raw["objectives"]["motion"] = {"kind": "classification", "label": "visual", "classes": 6}
    assert not from_json(json.dumps(raw)).objectives["motion"].after_fusion


def test_fields_of_a_file_from_before_they_were_renamed_are_read():
    raw = json.loads(to_json(load_experiment(ROOT / "configs" / "pretrain" / "trimodal.py")))
    raw["input"]["presence"] = raw["input"].pop("modality_dropout")
    raw["input"]["drop"] = raw["input"].pop("drop_token")
    read = from_json(json.dumps(raw))
    assert read == load_experiment(ROOT / "configs" / "pretrain" / "trimodal.py")
    assert read.input.modality_dropout.drop


def test_an_old_name_beside_the_new_one_is_refused():
    raw = json.loads(to_json(load_experiment(RECIPES[0])))
    raw["input"]["presence"] = raw["input"]["modality_dropout"]
    with pytest.raises(ConfigError, match="there is no field 'input" + ".presence'"):
        from_json(json.dumps(raw))
