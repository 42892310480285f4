"""What a recipe leaves to the corpus is chosen when a run begins, told, kept by a resume; what is given stays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mmvideo.cli.main import main
from mmvideo.datasets.build import build
from mmvideo.experiment.choices.fitting import fit, given_fields, is_open
from mmvideo.experiment.config import Experiment, from_json, load_experiment, to_json
from mmvideo.experiment.find_config import ConfigError
from mmvideo.input.config import Source
from mmvideo.media.encode import encode
from mmvideo.objectives import Classification, Regression

RECIPES = Path(__file__).parents[3] / "configs"
FINETUNE, PRETRAIN = RECIPES / "finetune" / "folder.py", RECIPES / "pretrain" / "folder.py"
SMALL = ["--model.depth", "2", "--model.width", "32", "--model.heads", "2", "--model.feed-forward", "64"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder of clips of 64 px and 1.5 s in folders of split and class; some have no audio."""
    folder, draw = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    for number in range(16):
        split, name = "test" if number >= 12 else "train", ("dark", "light")[number % 2]
        place = folder / split / name
        place.mkdir(parents=True, exist_ok=True)
        frames = draw.integers(0, 100, (18, 64, 80, 3)).astype(np.uint8) + np.uint8(100 * (number % 2))
        samples = np.sin(np.arange(24000) * (0.05 + 0.1 * (number % 2))).astype(np.float32) if number % 3 else None
        encode(place / f"{number}.mp4", frames, 12, samples=samples)
    return folder


@pytest.fixture(scope="module")
def corpus(clips) -> Path:
    build(clips, clips.parent / f"{clips.name}_corpus", processes=1, progress=False)
    return clips.parent / f"{clips.name}_corpus"


@pytest.fixture
def listed(clips, tmp_path):
    """Builds a corpus of some of the clips, each row with what is given for it."""

    def make(rows: list[dict]) -> Path:
        files = sorted(clips.rglob("*.mp4"))
        lines = [json.dumps({"id": str(n), "media": str(files[n])} | row) for n, row in enumerate(rows)]
        (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n")
        build(tmp_path, tmp_path / "corpus", processes=1, progress=False, allow_outside=True)
        return tmp_path / "corpus"

    return make


def on(recipe: Path | Experiment, corpus: Path) -> Experiment:
    experiment = load_experiment(recipe) if isinstance(recipe, Path) else recipe
    return dataclasses.replace(experiment, input=dataclasses.replace(experiment.input, sources=(Source(str(corpus)),)))


@pytest.mark.slow(reason="trains, evaluates, resumes and evaluates again through the command line")
def test_the_recipe_trains_on_a_folder_of_clips(corpus, tmp_path, capsys):
    """Two steps, evaluated; the resolved settings lie in config.json, and the same command resumes with them."""
    workdir = tmp_path / "run"
    command = ["train", str(FINETUNE), "--input.sources.0.path", str(corpus), "--workdir", str(workdir), *SMALL]
    assert main([*command, "--training.steps", "2"]) == 0
    said = capsys.readouterr().out
    assert "chosen from" in said and "dark, light" in said and "4 of 12 clips have no audio" in said
    run = from_json((workdir / "config.json").read_text())
    assert run.choose is None and not is_open(run)
    assert run.objectives["label"].classes == 2 and run.objectives["label"].modalities == ("video", "audio")
    assert run.input.video.size == 64 and run.input.video.frames == 12 and run.training.steps == 2
    assert run.input.audio.spectrogram.mean != load_experiment(FINETUNE).input.audio.spectrogram.mean
    metrics = json.loads((workdir / "evals" / "classification.json").read_text())["metrics"]
    assert metrics["label/clips"] == 4 and 0 <= metrics["label/top1"] <= 1

    assert main([*command, "--training.steps", "3"]) == 0
    said = capsys.readouterr().out
    assert "chosen from" not in said, "the choices of the first start are kept"
    again = from_json((workdir / "config.json").read_text())
    assert again == dataclasses.replace(run, training=dataclasses.replace(run.training, steps=3))


def test_given_fields_stay_and_others_follow(corpus):
    draft = on(FINETUNE, corpus)
    video = dataclasses.replace(draft.input.video, size=32)
    draft = dataclasses.replace(draft, input=dataclasses.replace(draft.input, video=video))
    plain, _ = fit(on(FINETUNE, corpus))
    fitted, chosen = fit(draft, given_fields(["--input.video.size=32", "--x-y", "3"]))
    assert fitted.input.video.size == 32 and fitted.input.video.tubelet == (2, 8, 8)
    assert fitted.input.video.crop_scale == draft.input.video.crop_scale
    assert "input.video.size" not in {one.field for one in chosen} and all(one.why for one in chosen)
    assert plain.input.video.tubelet == (2, 16, 16) and fitted.choose == plain.choose is None
    assert given_fields(["--input.video.size=32", "--objectives.label.head-norm", "3"]) == {
        "input.video.size", "objectives.label.head_norm",
    }  # fmt: skip


def test_classification_asks_the_corpus_for_its_classes(corpus):
    """In any recipe, also one that chooses nothing else."""
    draft = Experiment(name="x", objectives={"mine": Classification("label", modalities=("video",))})
    assert is_open(draft) and from_json(to_json(draft)) == draft
    fitted, chosen = fit(on(draft, corpus))
    assert [(one.field, one.value) for one in chosen] == [("objectives.mine.classes", 2)]
    assert fitted.objectives["mine"].classes == 2 and fitted.input.packing == draft.input.packing
    assert not is_open(fitted)


def test_several_classes_of_a_clip(listed):
    corpus = listed([{"labels": {"events": names}} for names in (["dog", "bark"], [], ["dog"], ["cat"])])
    fitted, _ = fit(on(FINETUNE, corpus))
    objective = fitted.objectives["label"]
    assert (objective.label, objective.form, objective.classes) == ("events", "sigmoid", 3)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([{}, {}], "no labels.*FOLDER/train/CLASS.*configs/pretrain/folder.py"),
        ([{"label": "a"}, {"label": "a"}], "one class, 'a'"),
        ([{"labels": {"verb": "a", "noun": "b"}}] * 2, "noun, verb.*--objectives.label.label noun"),
        ([{"labels": {"label": 0.5}}, {"labels": {"label": 1.5}}], "is a number.*Regression"),
    ],
    ids=["none", "one", "others", "number"],
)
def test_labels_that_make_no_classifier(listed, tmp_path, capsys, labels, said):
    corpus = listed(labels)
    command = ["train", str(FINETUNE), "--input.sources.0.path", str(corpus), "--workdir", str(tmp_path / "run")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (tmp_path / "run" / "config.json").exists()
    with pytest.raises(ConfigError, match=said):
        fit(on(FINETUNE, corpus))


def test_pretraining_compares_what_there_is(listed, corpus):
    both, chosen = fit(on(PRETRAIN, corpus))
    assert both.input.text is None and set(both.objectives) == {"contrastive", "masked_patches"}
    assert both.objectives["contrastive"].pairs == ("video-audio",)
    assert any("8 clips have video and audio" in one.why for one in chosen)
    silent = listed([{"captions": [f"clip {number}"]} if number < 2 else {} for number in range(4)])
    words, _ = fit(on(PRETRAIN, silent))
    assert words.input.text.length == 16 and "masked_text" in words.objectives
    assert "video-text" in words.objectives["contrastive"].pairs


def test_what_cannot_be_chosen_is_named(corpus):
    with pytest.raises(ConfigError, match="'model.size', which cannot be chosen from a corpus; these can: input.video"):
        fit(dataclasses.replace(on(FINETUNE, corpus), choose=("model.size",)))
    numbers = Experiment(name="x", objectives={"mood": Regression("mood")})
    assert not is_open(numbers)


def test_a_flag_for_what_no_clip_has(listed, clips):
    files = [path for path in sorted(clips.rglob("*.mp4"))]
    silent = [{"media": str(path), "label": path.parent.name} for path in files if int(path.stem) % 3 == 0]
    corpus = listed(silent)
    with pytest.raises(ConfigError, match="--input.audio.seconds is given.*no clip has audio"):
        fit(on(FINETUNE, corpus), frozenset({"input.audio.seconds"}))


def test_advice_says_the_same_and_why(corpus, capsys):
    assert main(["data", "advise", str(corpus), "--json"]) == 0
    advice = json.loads(capsys.readouterr().out)
    fitted, chosen = fit(on(FINETUNE, corpus))
    assert [one["field"] for one in advice["chosen"]] == [one.field for one in chosen]
    assert advice["recipe"] == "configs/finetune/folder.py" and str(corpus) in advice["command"]
    assert advice["holds"]["splits"] == {"test": 4, "train": 12} and advice["holds"]["with_audio"] == 8
    assert advice["holds"]["labels"]["label"]["clips"] == {"dark": 6, "light": 6}
    assert any("4 clips measure it" in caution for caution in advice["cautions"])

    assert main(["data", "advise", str(corpus), "--recipe", "pretrain"]) == 0
    said = capsys.readouterr().out
    assert "configs/pretrain/folder.py would choose" in said and "input.video.tubelet" in said
    assert "one class a clip, 2 classes of 6 to 6 clips" in said


def test_advice_minds_what_would_mislead(listed, capsys):
    rows = [{"label": "a"}] * 5 + [{"label": "b"}] + [{}] + [{"label": "c", "split": "test"}]
    assert main(["data", "advise", str(listed(rows))]) == 0
    said = capsys.readouterr().out
    assert "fewer than 5 training clips: b (1)" in said and "tested, but never in training: c" in said
    assert "1 of 7 training clips have no label" in said and "83% of the clips are 'a'" in said


def test_advice_on_no_corpus_is_one_line(tmp_path, capsys):
    assert main(["data", "advise", str(tmp_path)]) == 2
    assert "is no corpus; build one" in capsys.readouterr().err
    assert main(["data", "advise", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
