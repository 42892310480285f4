"""What axes make of a base: crossed, paired and named changes, equal cells once, and mistakes in one line."""

from __future__ import annotations

import dataclasses

import pytest

from mmvideo.ablation.cells import cells_of, load_suite
from mmvideo.ablation.fields import differences, override
from mmvideo.ablation.schedule import runs_of
from mmvideo.ablation.suite import Metric, Study, Tier, grid, named, paired
from mmvideo.experiment.config import ConfigError, Experiment
from mmvideo.model.config import Fusion, Model
from mmvideo.objectives import Contrastive, MaskedPatches

BASE = Experiment(name="base", model=Model(depth=4, width=32, heads=2), objectives={"patches": MaskedPatches()})
JOINT = Metric("joint", "classification", "joint/top1")


def tier(*axes, **more) -> Tier:
    return Tier((Study("one", BASE, axes, (JOINT,), **more),), seeds=(0, 1))


def test_axes_are_crossed_seed_by_seed_and_what_makes_no_sense_is_left_out():
    kind = named("kind", {"early": {"model.fusion": Fusion("early")}, "mid": {"model.fusion": Fusion("mid", 2)}})
    layer = grid("layer", "model.fusion.layer", [1, 2, 3])
    found = cells_of(tier(kind, layer, without=({"kind": "early", "layer": "2"}, {"kind": "early", "layer": "3"})))
    told = [(cell.labels["kind"], cell.labels["layer"], cell.seed) for cell in found]
    assert told == [
        (*point, seed) for seed in (0, 1) for point in (("early", "1"), ("mid", "1"), ("mid", "2"), ("mid", "3"))
    ]
    assert found[3].experiment.model.fusion == Fusion("mid", 3) and found[4].experiment.training.seed == 1
    assert len({cell.place for cell in found}) == 8 and "kind=mid" in found[3].title


def test_fields_may_change_together_and_a_function_may_do_the_rest():
    size = paired("size", ["model.depth", "model.width"], {"small": (2, 16), "large": (4, 32)})
    more = named("objectives", {"alone": {}, "pairs": {"objectives.pairs": Contrastive()}, "wide": _wider})
    found = {tuple(cell.labels.values()): cell.experiment for cell in cells_of(tier(size, more))}
    assert (found["small", "alone"].model.depth, found["small", "alone"].model.width) == (2, 16)
    assert list(found["large", "pairs"].objectives) == ["patches", "pairs"]
    assert found["large", "wide"].model.width == 64


def _wider(experiment: Experiment) -> Experiment:
    return dataclasses.replace(
        experiment, model=dataclasses.replace(experiment.model, width=2 * experiment.model.width)
    )


def test_cells_with_equal_settings_have_one_place():
    depth = grid("depth", "model.depth", [4, 2])
    same = named("what", {"nothing": {}, "what it is": {"model.width": 32}})
    places = [cell.place for cell in cells_of(tier(depth, same)) if cell.seed == 0]
    assert places[0] == places[1] and places[2] == places[3] and len(set(places)) == 2


def test_only_some_are_asked_for():
    found = cells_of(tier(grid("depth", "model.depth", [1, 2, 3])), only=[("depth", "1"), ("depth", "3")])
    assert [cell.labels["depth"] for cell in found] == ["1", "3", "1", "3"]
    # Its first cell is one of the other study, and has the same place whether that is asked for or not.
    other = Study("two", BASE, (grid("width", "model.width", [32, 64]),), (JOINT,))
    two = Tier((Study("one", BASE, (grid("depth", "model.depth", [4, 2]),), (JOINT,)), other), seeds=(0, 1))
    both = cells_of(two, only=[("study", "two")])
    assert [cell.study for cell in both] == ["two"] * 4
    assert [cell.place for cell in both] == [cell.place for cell in cells_of(two) if cell.study == "two"]
    with pytest.raises(ConfigError, match="study has no 'three'"):
        cells_of(two, only=[("study", "three")])
    with pytest.raises(ConfigError, match="no axis 'dept'; do you mean 'depth'"):
        cells_of(tier(grid("depth", "model.depth", [1])), only=[("dept", "1")])
    with pytest.raises(ConfigError, match="depth has no '9'"):
        cells_of(tier(grid("depth", "model.depth", [1])), only=[("depth", "9")])


def test_mistakes_name_the_cell_and_the_field():
    with pytest.raises(ConfigError, match="study 'one', cell depth=1: field 'model.dept': .* do you mean 'depth'"):
        cells_of(tier(grid("depth", "model.dept", [1])))
    with pytest.raises(ValueError, match="'x' is asked of 4, which has no fields"):
        override(BASE, {"model.depth.x": 1})


def test_differences_are_told_by_field():
    other = override(BASE, {"model.width": 64, "name": "other"})
    assert differences({"a": BASE, "b": other}) == {"model.width": {"a": 32, "b": 64}}


def test_a_part_that_some_lack_is_told_as_a_whole():
    silent, louder = override(BASE, {"input.audio": None}), override(BASE, {"input.audio.seconds": 9.0})
    assert differences({"a": BASE, "b": silent}) == {"input.audio": {"a": "{…}", "b": None}}
    found = differences({"a": BASE, "b": silent, "c": louder})
    assert found["input.audio"] == {"a": "{…}", "b": None, "c": "{…}"}
    assert found["input.audio.seconds"] == {"a": BASE.input.audio.seconds, "b": None, "c": 9.0}
    assert len(found) == 2


def test_an_objective_that_some_lack_is_one_line_with_its_kind():
    kept = next(iter(BASE.objectives.values()))
    more = override(BASE, {"objectives.more": dataclasses.replace(kept, weight=0.5)})
    heavier = override(more, {"objectives.more.weight": 0.7})
    assert differences({"a": BASE, "b": more}) == {"objectives.more": {"a": None, "b": kept.kind}}
    found = differences({"a": BASE, "b": more, "c": heavier})
    assert found["objectives.more.weight"] == {"a": None, "b": 0.5, "c": 0.7} and len(found) == 2
    assert list(differences({"b": more, "c": heavier})) == ["objectives.more.weight"]


def test_what_is_empty_for_some_is_told_by_what_is_in_it():
    gaps = override(BASE, {"input.modality_dropout.drop": {"audio": 0.5}})
    assert differences({"a": BASE, "b": gaps}) == {"input.modality_dropout.drop.audio": {"a": None, "b": 0.5}}


def test_a_suite_is_read_or_its_mistake_told(tmp_path):
    with pytest.raises(ConfigError, match="there is no suite"):
        load_suite(tmp_path)
    (tmp_path / "suite.py").write_text("suite = 3\n")
    with pytest.raises(ConfigError, match="must define `suite = Suite"):
        load_suite(tmp_path)
    (tmp_path / "suite.py").write_text("import nowhere\n")
    with pytest.raises(ConfigError, match=r"suite.py: No module named 'nowhere'"):
        load_suite(tmp_path)


def test_a_shared_run_is_made_once_where_it_is_needed(tmp_path):
    start = named("start", {name: {"training.init_from": f"shared:{name}"} for name in ("a", "b", "c")})
    deeper = dataclasses.replace(BASE.model, depth=6)
    before = {name: dataclasses.replace(BASE, name=name) for name in ("a", "b")}
    before |= {name: dataclasses.replace(BASE, name=name, model=deeper) for name in ("c", "unused")}
    runs = runs_of(tmp_path, cells_of(tier(start)), before)
    assert list(runs)[:2] == ["shared-a", "shared-c"] and len(runs) == 2 + 6
    needs = {place: run.need for place, run in runs.items()}
    assert needs["one_a_s0"] == needs["one_b_s1"] == "shared-a" and needs["one_c_s0"] == "shared-c"
    assert runs["one_b_s0"].experiment.training.init_from.endswith("cells/shared-a")
    with pytest.raises(ConfigError, match="starts from shared:c, but the tier shares a, b"):
        runs_of(tmp_path, cells_of(tier(start)), {name: before[name] for name in ("a", "b")})
