"""A twin is small, and makes every choice of its recipe."""

from __future__ import annotations

import dataclasses

import pytest

from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import batch_outline
from mmvideo.experiment.tiny import tiny_twin
from mmvideo.input.config import Audio, Input, Masking, Packing, Source, Text, Video, Views
from mmvideo.model.config import Decoder, Fusion, Model, model_dims
from mmvideo.model.fusion.fusion_stages import stages
from mmvideo.objectives import Classification, Contrastive, Moments, Regression
from mmvideo.objectives.generation.config import Decoding
from mmvideo.parallel.config import Mesh
from mmvideo.training.config import Optimizer, Training

LARGE = Experiment(
    name="large",
    input=Input(
        sources=(Source("corpora/a"), Source("corpora/b")),
        video=Video(fps=0.5, frames=32, size=224, tubelet=(2, 14, 14), crop_scale=0.3, flip=True),
        audio=Audio(seconds=10.0, patch=(16, 16), stride=(10, 10), time_masks=2, time_mask=192),
        text=Text(length=64, vocabulary=32_000),
        masking=Masking(video=0.9, audio=0.8, audio_kind="time"),
        packing=Packing(rows=512, tokens=3000, clips=4, video=900),
    ),
    model=Model(size="L", fusion=Fusion("mid", layer=20, media_layer=16), decoder=Decoder(8, 512, 16, "clip")),
    objectives={
        "sounds": Classification("sound", 527, ("audio",)),
        "acts": Classification("act", 400, ("video", "audio")),
        "pairs": Contrastive(width=512, temperature=0.05, learned=False),
    },
    training=Training(steps=100_000, ema=0.999, optimizer=Optimizer("lion", 1e-4, "linear", warmup=1000, accumulate=8)),
    mesh=Mesh(fsdp=8),
)


@pytest.fixture(scope="module")
def tiny() -> Experiment:
    return tiny_twin(LARGE)


def kept(value, small: tuple[str, ...]) -> dict:
    """The fields of a dataclass but for those that a twin makes small."""
    return {name: field for name, field in vars(value).items() if name not in small}


def test_every_choice_is_kept(tiny):
    assert kept(tiny.model, ("depth", "width", "heads", "feed_forward", "fusion", "decoder")) == kept(
        LARGE.model, ("depth", "width", "heads", "feed_forward", "fusion", "decoder")
    )
    assert tiny.model.decoder.sees == "clip"
    assert kept(tiny.input.video, ("fps", "frames", "size")) == kept(LARGE.input.video, ("fps", "frames", "size"))
    assert kept(tiny.input.audio, ("seconds", "time_mask")) == kept(LARGE.input.audio, ("seconds", "time_mask"))
    assert tiny.input.masking == LARGE.input.masking
    assert kept(tiny.objectives["pairs"], ("width",)) == kept(LARGE.objectives["pairs"], ("width",))
    assert kept(tiny.training.optimizer, ("warmup", "accumulate")) == kept(
        LARGE.training.optimizer, ("warmup", "accumulate")
    )
    assert tiny.training.ema == 0.999


def test_modalities_meet_in_the_same_order(tiny):
    small, large = (stages(e.model.fusion, model_dims(e.model).depth) for e in (tiny, LARGE))
    assert [stage.groups for stage in small] == [stage.groups for stage in large]


@pytest.mark.parametrize(
    ("fusion", "depth", "found"),
    [
        (Fusion("mid", 11), 12, (3, None)),
        (Fusion("mid", 12), 12, (4, None)),
        (Fusion("mid", 0), 12, (0, None)),
        (Fusion("mid", 1), 12, (1, None)),
        (Fusion("mid", 12, 8), 12, (4, 3)),
        (Fusion("mid", 12, 12), 12, (4, 4)),
        (Fusion("mid", 2, 1), 12, (2, 1)),
        (Fusion("mid", 2, 0), 12, (2, 0)),
        (Fusion("mid", 10, 8), 12, (3, 2)),
    ],
)
def test_where_they_meet(fusion, depth, found):
    small = tiny_twin(dataclasses.replace(LARGE, model=Model(size="B", depth=depth, fusion=fusion))).model.fusion
    assert (small.layer, small.media_layer) == found


def test_it_is_small_and_its_rows_hold_its_clips(tiny):
    sketch = batch_outline(tiny.input)
    assert sketch.clips == tiny.input.packing.clips == 2
    assert tiny.input.packing.tokens == 2 * sketch.need["tokens"] < 200
    assert (tiny.input.video.frames, tiny.input.video.size, tiny.input.video.fps) == (4, 56, 2.5)
    assert (tiny.input.text.length, tiny.input.text.vocabulary) == (12, None)
    assert tiny.mesh == Mesh() and tiny.training.steps == 4 and tiny.training.optimizer.warmup == 0


def test_a_span_longer_than_a_shape_is_cut():
    """Four spans of 1.6 s take 6.4 s, a shape lasts for 1.6."""
    long = dataclasses.replace(LARGE.input, audio=Audio(seconds=40.0, patch=(160, 128)), masking=Masking(audio=0.25))
    audio = tiny_twin(dataclasses.replace(LARGE, input=long)).input.audio
    assert audio.patch == (32, 128) and audio.seconds < 1.6


def test_it_learns_from_labels_that_the_shapes_have(tiny):
    assert [tiny.objectives[name].label for name in ("sounds", "acts")] == ["audio", "joint"]
    assert tiny.input.sources == (Source("corpora/quickstart/shapes"),)


def test_what_is_measured_is_kept_in_fewer_views():
    asked = Evaluation(
        sources=(Source("corpora/a", "validation"),),
        tasks=("classification", "retrieval"),
        views=Views(clips=5, crops=3, resize_shorter=256),
        average="logits",
        captions="all",
        rerank=50,
        decoding=Decoding(method="beam", beams=8, length=40),
    )
    small = tiny_twin(dataclasses.replace(LARGE, evaluation=asked)).evaluation
    assert (small.tasks, small.average, small.captions) == (asked.tasks, "logits", "all")
    assert small.views == Views(clips=2, crops=1, resize_shorter=64) and small.sources == ()
    assert (small.rerank, small.decoding) == (4, Decoding(method="beam", beams=2, length=12))


def test_several_classes_numbers_and_moments_have_their_own_corpora():
    objectives = {
        "events": Classification("events", 527, ("audio",), form="sigmoid"),
        "verb": Classification("verb", 97),
        "sentiment": Regression("sentiment", range=(-5.0, 5.0)),
    }
    small = tiny_twin(dataclasses.replace(LARGE, objectives=objectives))
    labels = [(one.label, getattr(one, "classes", None)) for one in small.objectives.values()]
    assert labels == [("elements", 16), ("verb", 6), ("mood", None)]
    assert small.objectives["sentiment"].range == (-3.0, 3.0)
    long = tiny_twin(dataclasses.replace(LARGE, objectives={"moments": Moments()}))
    assert long.input.sources == (Source("corpora/quickstart/scenes"),)
    assert (long.input.video.frames, long.input.video.fps) == (16, 0.5), "a view of 32 s"
