"""The settings of objectives: checked where they are made, and as JSON."""

import pydantic
import pytest

from mmvideo.model.config import Decoder
from mmvideo.objectives import (
    AnyObjective,
    Captioning,
    Classification,
    Contrastive,
    Distillation,
    LatentPrediction,
    MaskedPatches,
    MaskedText,
    Matching,
    Moments,
    Regression,
    Synchrony,
)
from mmvideo.objectives.components.modality_groups import parse_pair

ADAPTER = pydantic.TypeAdapter(dict[str, AnyObjective])


def test_json_round_trip():
    objectives = {
        "a": Contrastive(pairs=("video+audio-text",), form="sigmoid", temperature=0.2, learned=False),
        "e": Contrastive(form="mil_nce", direction="forward", chunk=64),
        "b": MaskedPatches(target="patch", epsilon="deviation", error="smooth_l1", beta=0.5, audio=0.0),
        "c": MaskedText(weight=0.3),
        "d": Classification("visual", 8, ("video",), 0.1),
        "k": Classification("sounds", 527, form="sigmoid", dropout=0.1, init_scale=0.001, require="any"),
        "l": Regression("sentiment", ("video", "text"), range=(-3.0, 3.0), error="smooth_l1", beta=0.1),
        "m": Moments(3, background=1.0, ranking=0.0),
        "f": Captioning(("video+audio",), smoothing=0.1),
        "i": Distillation(16, ("video", "audio"), form="relational", chunk=64),
        "h": Synchrony("sync", pooling="map"),
        "j": Matching("video+audio-text", negatives="uniform", pooling="class"),
        "g": LatentPrediction(predictor=Decoder(12, 384, 12, "clip"), decay=0.99, last_decay=1.0, ramp=100),
    }
    assert ADAPTER.validate_json(ADAPTER.dump_json(objectives)) == objectives


def test_an_error_names_the_field_of_the_kind_that_was_meant():
    with pytest.raises(pydantic.ValidationError) as error:
        ADAPTER.validate_python({"mine": {"kind": "masked_patches", "video": "much"}})
    assert [part["loc"] for part in error.value.errors()] == [("mine", "masked_patches", "video")]
    with pytest.raises(pydantic.ValidationError, match="'contrastive', 'masked_patches', 'masked_text'"):
        ADAPTER.validate_python({"mine": {"kind": "masked_pictures"}})


def test_pairs():
    assert parse_pair("audio+video-text") == (("video", "audio"), ("text",))
    for wrong in ("video", "video-text-audio", "video-sound", "video-video+audio", "video+-text", ""):
        with pytest.raises(ValueError, match="is not a pair such as"):
            parse_pair(wrong)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Contrastive(pairs=()), "pairs is empty"),
        (lambda: Contrastive(pairs=("video-words",)), "'video-words' is not a pair"),
        (lambda: Contrastive(pairs=("video+audio-text", "audio+video-text")), "names a pair twice"),
        (lambda: Contrastive(pairs=("video-text",), pair_weights=(1.0, 2.0)), "a weight, 0 or more, for each pair"),
        (lambda: Contrastive(temperature=0.001), "temperature 0.001 must be 0.01 or more"),
        (lambda: Contrastive(width=0), "width 0"),
        (lambda: Contrastive(chunk=0), "chunk 0 must be 1 or more"),
        (lambda: Contrastive(form="sigmoid", direction="forward"), "the sigmoid has none"),
        (lambda: MaskedPatches(video=0.0, audio=0.0), "not both 0"),
        (lambda: MaskedPatches(video=-1.0), "0 or more"),
        (lambda: MaskedPatches(beta=0.0), "beta 0.0 must be above 0"),
        (lambda: Distillation(0), "width 0"),
        (lambda: Distillation(8, ()), "must name some of"),
        (lambda: Distillation(8, temperature=0.0), "must be above 0"),
        (lambda: Distillation(8, chunk=0), "chunk 0"),
        (lambda: Classification("x", 1), "classes 1"),
        (lambda: Classification("x", 2, ("sight",)), "must name some of"),
        (lambda: Classification("x", 2, smoothing=1.0), "smoothing"),
        (lambda: Classification("x", 2, dropout=1.0), "classification.dropout 1.0 must be in"),
        (lambda: Classification("x", 2, init_scale=0.0), "classification.init_scale 0.0 must be above 0"),
        (lambda: Regression("x", ()), "regression.modalities .* must name some of"),
        (lambda: Regression("x", range=(3.0, -3.0)), "regression.range .* must be the lowest and the highest"),
        (lambda: Regression("x", range=(0.0, float("inf"))), "regression.range"),
        (lambda: Regression("x", beta=0.0), "regression.beta 0.0 must be above 0"),
        (lambda: Moments(-1), "moments.layers -1 must be 0 or more"),
        (lambda: Moments(background=0.0), "moments.background 0.0 must be above 0"),
        (lambda: Moments(overlap=-1.0), "moments.overlap -1.0 is a weight"),
    ],
)
def test_wrong_settings(make, words):
    with pytest.raises(ValueError, match=words):
        make()
