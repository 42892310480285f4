"""Stages of fusion, and that no content leaks into taps before its stage."""

import dataclasses

import numpy as np
import pytest
from flax import nnx

from mmvideo.model.config import Fusion
from mmvideo.model.fusion.fusion_stages import APART, MEDIA, TOGETHER, Stage, stages
from mmvideo.model.transformer.multimodal_transformer import MultimodalTransformer
from mmvideo.stream import MODALITIES, Modality, StreamSpec


def test_stages_of_each_scheme():
    assert stages(Fusion("early"), 4) == (Stage(0, 4, TOGETHER),)
    below, media = Stage(0, 3, APART, "apart"), Stage(1, 3, MEDIA, "media")
    assert stages(Fusion("late"), 4) == (Stage(0, 4, APART, "apart"),)
    assert stages(Fusion("mid", 3), 4) == (below, Stage(3, 4, TOGETHER))
    assert stages(Fusion("mid", 3, 1), 4) == (Stage(0, 1, APART, "apart"), media, Stage(3, 4, TOGETHER))
    assert stages(Fusion("mid", 4, 0), 4) == (Stage(0, 4, MEDIA, "media"),)
    assert stages(Fusion("mid", 0), 4) == stages(Fusion("early"), 4)
    assert stages(Fusion("cross", 3), 4) == (below, Stage(3, 4, TOGETHER, cross=True))
    narrow = Stage(3, 4, APART, bottlenecks=2, fused=MODALITIES)
    assert stages(Fusion("bottleneck", 3, bottlenecks=2), 4) == (below, narrow)


def test_a_part_of_the_modalities_may_meet():
    sound_and_text = Fusion("mid", 1, modalities=("text", "audio"))
    assert stages(sound_and_text, 2)[1].groups == (("video",), ("audio", "text"))
    around_sound = stages(Fusion("early", modalities=("video", "text")), 2)
    assert around_sound[0].groups == (("video", "text"), ("audio",))
    assert around_sound[0].order == ("video", "text", "audio")
    narrow = stages(Fusion("bottleneck", 1, modalities=("video", "audio")), 2)[1]
    assert narrow.groups == APART and narrow.fused == ("video", "audio")
    assert narrow.visible_modalities("video") == ("video", "audio") and narrow.visible_modalities("text") == ("text",)


def test_causal_text_is_causal_in_every_stage():
    plan = stages(Fusion("mid", 2, 1, text="causal"), 4)
    assert [stage.causal for stage in plan] == [("text",)] * 3
    assert plan[0].groups == APART and plan[2].groups == TOGETHER


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (Fusion("mid", 2, modalities=("video",)), "must name two or more of video, audio, text"),
        (Fusion("mid", 2, 1, modalities=("video", "text")), "media_layer is for scheme mid"),
        (Fusion("bottleneck", 2, 1), "media_layer is for scheme mid"),
        (Fusion("bottleneck", 2, bottlenecks=0), "fusion.bottlenecks is 0"),
        (Fusion("bottleneck", 2, text="causal"), "can't be fused by a bottleneck"),
    ],
)
def test_impossible_fusion_is_refused(fusion, message):
    with pytest.raises(ValueError, match=message):
        stages(fusion, 4)


@pytest.mark.parametrize("fusion", [Fusion("mid", 5), Fusion("mid", 2, 3), Fusion("mid", 2, -1), Fusion("cross", 5)])
def test_impossible_layers_are_refused(fusion):
    with pytest.raises(ValueError, match="media_layer <= layer <= 4"):
        stages(fusion, 4)


@pytest.mark.parametrize("fusion", [Fusion("early"), Fusion("mid", 2), Fusion("mid", 2, 1), Fusion("late")])
@pytest.mark.parametrize("changed", MODALITIES)
def test_taps_do_not_leak(streams, build, fusion, changed):
    """Change one modality: tokens of the rest change only in the taps of stages in which they are fused."""
    model = build(fusion=fusion)
    before, after = streams.make_clip(1), streams.make_clip(1)
    after[changed] = streams.make_clip(2)[changed]
    one, two = streams.make_stream([[before]]), streams.make_stream([[after]])
    run = nnx.jit(lambda model, stream: model(stream).taps)
    for stage, a, b in zip(model.stages, run(model, one), run(model, two), strict=True):
        group = next(group for group in stage.groups if changed in group)
        difference = np.abs(np.asarray(a) - np.asarray(b)).max(axis=-1)
        for modality in Modality:
            tokens = difference[one.layout.modality == modality]
            if modality.name.lower() in group:
                assert tokens.min() > 1e-5
            else:
                assert tokens.max() == 0


def test_tokens_are_of_the_deepest_tap_where_the_asked_are_alone(streams, build):
    stream = streams.make_stream([[streams.make_clip(1)]])
    features = build(fusion=Fusion("mid", 2, 1))(stream)
    assert features.tokens(("video",)) is features.taps[0]
    assert features.tokens(("text",)) is features.taps[1]
    assert features.tokens(("audio", "video")) is features.taps[1]
    assert features.tokens(("video", "text")) is features.taps[0]
    assert features.tokens(MODALITIES) is features.top
    late = build(fusion=Fusion("late"))(stream)
    assert late.tokens(("video",)) is late.top


def test_video_and_audio_never_know_of_causal_text(streams, build):
    model = build(fusion=Fusion("mid", 2, 1, text="causal"))
    features = model(streams.make_stream([[streams.make_clip(1)]]))
    assert features.tap(("video", "audio")) == 2
    assert features.tap(("video",)) == 0
    assert features.tap(("text",)) == 1
    assert features.tap(("video", "text")) == 0
    assert features.tap(MODALITIES) == 2


@pytest.mark.parametrize("fusion", [Fusion("mid", 2, 1, text="causal"), Fusion("early", text="causal")])
def test_causal_text_sees_only_what_stands_before_it(streams, build, fusion):
    """Change a text token in the middle: it and later tokens change, in every stage; nothing else does."""
    model = build(fusion=fusion)
    before, after = streams.make_clip(1), streams.make_clip(1)
    after["text"] = (after["text"][0].copy(), *after["text"][1:])
    after["text"][0][2] += 1
    one, two = streams.make_stream([[before]]), streams.make_stream([[after]])
    run = nnx.jit(lambda model, stream: model(stream).taps)
    text_tokens = np.flatnonzero(one.layout.modality[0] == Modality.TEXT)
    for a, b in zip(run(model, one), run(model, two), strict=True):
        changed = np.abs(np.asarray(a) - np.asarray(b))[0].max(axis=-1)[one.layout.is_token[0]] > 1e-5
        np.testing.assert_array_equal(np.flatnonzero(changed), text_tokens[2:])


def test_tokens_that_others_have_reached_are_refused(streams, build):
    features = build(fusion=Fusion("early"))(streams.make_stream([[streams.make_clip(1)]]))
    with pytest.raises(ValueError, match="video alone: audio, text can be seen.*fusion.scheme mid or late"):
        features.tokens(("video",))
    with pytest.raises(ValueError, match="no features of \\['smell'\\]"):
        features.tokens(("smell",))


def test_a_modality_that_the_run_lacks_cannot_be_met(streams, tiny):
    spec = StreamSpec(video=streams.SPEC.video, text=streams.SPEC.text)
    model = MultimodalTransformer(tiny(fusion=Fusion("mid", 2, 0)), spec, rngs=nnx.Rngs(0))
    stream = streams.make_stream([[streams.make_clip(1, audio=0)]])
    with pytest.raises(ValueError, match="holds \\['audio', 'text', 'video'\\], the model was built for"):
        model(stream)
    content = {name: stream.content[name] for name in ("video", "text")}
    layout = stream.layout
    index = np.where(
        layout.modality == Modality.TEXT, layout.source_index - content["video"].shape[1], layout.source_index
    )
    stream = dataclasses.replace(stream, content=content, layout=dataclasses.replace(layout, source_index=index))
    features = model(stream)
    assert features.tokens(("video",)) is features.taps[0]
    with pytest.raises(ValueError, match="audio"):
        features.tokens(("audio",))
