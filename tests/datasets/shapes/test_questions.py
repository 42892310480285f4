"""Questions about shapes, their answers, and the labels that downstream tasks learn from."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmvideo.datasets.manifests.manifest import class_names, read_manifest
from mmvideo.datasets.shapes import Shapes, ShapesConfig, write_shapes
from mmvideo.datasets.shapes.attributes import COLOURS, LABELS, MOTIONS, SHAPES, TIMBRES
from mmvideo.datasets.shapes.grammar import WORDINGS
from mmvideo.datasets.shapes.questions import ASKED, question_rows

CONFIG = ShapesConfig(seed=5, size=32)


def test_answers_are_true_and_questions_differ():
    clips = Shapes(CONFIG).draw("train", 200)
    rows = question_rows(CONFIG, clips, 3)
    assert len(rows) == 600 and len({row["id"] for row in rows}) == 600
    asked = set()
    for number, row in enumerate(rows):
        clip = clips[number // 3]
        (kind,) = [kind for kind, wordings in ASKED.items() if row["question"] in wordings]
        asked.add(row["question"])
        assert (
            row["captions"] == [f"{row['question']} <answer> {row['answer']}"]
            and row["media"] == f"clips/{clip.id}.mp4"
        )
        if kind == "bounces":
            assert row["answer"] == ["none", "one", "two", "three", "four"][len(clip.bounces)]
        else:
            (value,) = [value for value, wordings in WORDINGS[kind].items() if row["answer"] in wordings]
            assert value == getattr(clip, kind)
    for first in range(0, 600, 3):
        assert len({row["id"].rsplit("-", 1)[1] for row in rows[first : first + 3]}) == 3
    assert asked == {wording for wordings in ASKED.values() for wording in wordings}
    assert question_rows(CONFIG, clips[:9], 3) == rows[:27]
    with pytest.raises(ValueError, match="7 questions a clip; there are 6"):
        question_rows(CONFIG, clips, 7)


def test_questions_are_a_manifest_over_the_same_clips(tmp_path):
    write_shapes(tmp_path, CONFIG, {"train": 3, "test": 2}, processes=1, questions=2)
    rows = read_manifest(tmp_path / "questions.jsonl")
    assert len(rows) == 10 and {row.media for row in rows} == {row.media for row in read_manifest(tmp_path)}
    assert all(row.captions == (f"{row.attributes['question']} <answer> {row.attributes['answer']}",) for row in rows)
    assert [row.split for row in rows] == ["train"] * 6 + ["test"] * 4


def test_shapes_have_several_classes_a_number_and_two_heads(tmp_path):
    write_shapes(tmp_path, CONFIG, {"train": 40}, processes=1)
    rows = read_manifest(tmp_path)
    clips = Shapes(CONFIG).draw("train", 40)
    for row, clip in zip(rows, clips, strict=True):
        assert row.labels["elements"] == (clip.colour, clip.shape, clip.timbre)
        assert (row.labels["verb"], row.labels["noun"]) == (clip.motion, clip.shape)
        assert isinstance(row.labels["mood"], float) and row.labels["mood"] == clip.mood
        assert {kind: row.labels[kind] for kind in LABELS} == clip.labels
    classes = class_names(rows, {})
    assert set(classes["elements"]) <= {*COLOURS, *SHAPES, *TIMBRES} and set(classes["verb"]) <= set(MOTIONS)
    # A mood that is whole is still written with its point, so that it is a number on its own too.
    assert all("." in str(json.loads(line)["labels"]["mood"]) for line in open(tmp_path / "manifest.jsonl"))


def test_picture_and_sound_each_tell_part_of_the_mood():
    clips = Shapes(CONFIG).draw("train", 4000)
    moods = np.array([clip.mood for clip in clips])
    assert (moods.min(), moods.max()) == (-3, 3) and abs(moods.mean()) < 0.1
    for name, expected in (("motion", np.sqrt(35 / 72.5)), ("melody", np.sqrt(37.5 / 72.5))):
        values = np.array([getattr(clip, name) for clip in clips])
        best = {value: moods[values == value].mean() for value in np.unique(values)}
        guess = np.array([best[value] for value in values])
        assert np.corrcoef(guess, moods)[0, 1] == pytest.approx(expected, abs=0.03)
