"""The tiny twin of a recipe: the same choices at a size that trains a step in seconds on a laptop.

A twin keeps every choice (fusion, shared weights, positions, masks, objectives, optimizer) and shrinks what only costs
time: width and depth, the token grid, text, rows, steps and views. It learns from generated sounding shapes instead of
the recipe's corpora, which are rarely at hand. Single-label objectives use the label that the shown modalities reveal,
multi-label objectives use `elements`, regression uses `mood`, and moments and events use long videos of shapes.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from mmvideo.datasets.shapes import attributes
from mmvideo.evaluation.config import Evaluation
from mmvideo.experiment.config import Experiment
from mmvideo.experiment.planning.abstract_batch import batch_outline
from mmvideo.input.config import Audio, Input, Source, Text, Video, Views
from mmvideo.model.config import Decoder, Fusion, Model, VideoEncoder, model_dims
from mmvideo.model.kinds import ModelConfig
from mmvideo.objectives import Classification, Moments, Regression
from mmvideo.objectives.generation.config import Decoding
from mmvideo.parallel.config import Mesh
from mmvideo.training.config import Training, Tuning

CORPUS = "corpora/quickstart/shapes"
"""Folder in which tools/quickstart.sh builds the sounding shapes."""

SCENES, DENSE = "corpora/quickstart/scenes", "corpora/quickstart/dense"
"""Folders of corpora from `mmvideo data scenes`.

The first has queries for long videos with their moments, the second the videos' events as texts with time tokens.
"""

DEPTH, WIDTH, HEADS = 4, 48, 4
CELLS = 4
"""Rows and columns of patches in a frame, and time steps of audio."""

STEPS, LONG = 2, 8
"""Tubelet steps of a clip, and of a long video for moment retrieval."""

SECONDS = 1.6
"""Duration of the shortest shape."""

TEXT_TOKENS, TOLD = 12, 32
"""Tokens of a caption, and of a text that describes the events of a long video."""

LABELS = {("video",): "visual", ("audio",): "audio"}
"""Label field of the shapes by the modalities that a classifier sees; `joint` for all others."""

CLASSES = {kind: len(names) for kind, names in attributes.LABELS.items()} | {
    "verb": len(attributes.MOTIONS),
    "noun": len(attributes.SHAPES),
    "instrument": len(attributes.TIMBRES),
    "elements": len(attributes.COLOURS) + len(attributes.SHAPES) + len(attributes.TIMBRES),
}
"""Number of classes of each label field."""

MOOD = (-3.0, 3.0)
"""Lowest and highest mood of a shape."""


def tiny_twin(experiment: Experiment) -> Experiment:
    """Return the tiny twin of an experiment, named after it."""
    small = _input(experiment.input, _corpus(experiment))
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}_tiny",
        input=small,
        model=_model(experiment.model),
        objectives={name: _objective(objective) for name, objective in experiment.objectives.items()},
        training=_training(experiment.training, experiment.model),
        mesh=Mesh(),
        evaluation=_evaluation(experiment.evaluation, experiment.input, small),
        choose=None,
    )


def _corpus(experiment: Experiment) -> str:
    """Return the corpus that has what the experiment needs."""
    if any(isinstance(objective, Moments) for objective in experiment.objectives.values()):
        return SCENES
    return DENSE if "dense_captioning" in (experiment.evaluation.tasks or ()) else CORPUS


def _input(config: Input, corpus: str) -> Input:
    """Return an input with at most two short clips per row, from the shapes or from long videos of them."""
    packing, long = config.packing, corpus != CORPUS
    small = dataclasses.replace(
        config,
        sources=(Source(corpus),),
        video=None if config.video is None else _video(config.video, long),
        audio=None if config.audio is None else _audio(config.audio),
        text=None if config.text is None else _text(config.text, TOLD if corpus == DENSE else TEXT_TOKENS),
        # Rows long enough for anything: the outline below then says how many tokens a clip needs.
        packing=dataclasses.replace(packing, tokens=2**20, video=None, audio=None, text=None),
        threads=1,
    )
    clips = min(packing.clips, 2)
    tokens = clips * batch_outline(small).need["tokens"]
    rows = dataclasses.replace(small.packing, rows=8, clips=clips, tokens=tokens)
    return dataclasses.replace(small, packing=rows)


def _video(video: Video, long: bool) -> Video:
    """Return a few patches of the same size, at a frame rate at which a shape lasts for all frames."""
    step, height, width = video.tubelet
    frames = min(video.frames, (LONG if long else STEPS) * step)
    # 4 frames of a shape of 1.6 s need at least 2.5 frames a second; a recipe at 1 would sample past its end.
    fps = video.fps if long else max(video.fps, frames / SECONDS)
    return dataclasses.replace(video, frames=frames, size=CELLS * max(height, width), fps=fps)


def _audio(audio: Audio) -> Audio:
    """Return a few time steps, with patches of the same size unless the shapes are too short for them."""
    if audio.waveform is not None:
        return dataclasses.replace(audio, seconds=2 * CELLS * audio.waveform / audio.sample_rate)
    hop, window = audio.spectrogram.hop_seconds, audio.spectrogram.window_seconds
    (high, bins), (step, jump) = audio.patch, audio.stride or audio.patch
    # Patches of 64 hops of 10 ms: 4 steps are 256 hops, 2.585 s with the 25 ms window, longer than 1.6 s. So shorter =
    # 2, and patches of 32 hops take 1.305 s.
    shorter = math.ceil(((high + (CELLS - 1) * step) * hop + window) / SECONDS)
    high, step = max(high // shorter, 1), max(step // shorter, 1)
    rows = high + (CELLS - 1) * step
    return dataclasses.replace(
        audio,
        seconds=round(rows * hop + window, 6),
        patch=(high, bins),
        stride=None if audio.stride is None else (step, jump),
        time_mask=min(audio.time_mask, rows // 2),
    )


def _text(text: Text, text_tokens: int) -> Text:
    """Return text settings with few tokens and the twin corpus's own tokenizer."""
    return dataclasses.replace(text, tokenizer=None, vocabulary=None, length=min(text.length, text_tokens))


def _model(model: ModelConfig) -> ModelConfig:
    """Return at most four thin layers with fusion at the corresponding layer, or a narrow baseline."""
    if not isinstance(model, Model):
        thin = {name: tuple(min(size, 8) for size in getattr(model, name)) for name in ("channels", "dense")}
        return dataclasses.replace(model, width=WIDTH // 2, word=WIDTH // 2, **thin)
    deep = model_dims(model).depth
    depth = min(deep, DEPTH)
    return dataclasses.replace(
        model,
        depth=depth,
        width=WIDTH,
        heads=HEADS,
        feed_forward=2 * WIDTH,
        fusion=_fusion(model.fusion, deep, depth),
        decoder=_decoder(model.decoder),
        video_encoder=_video_encoder(model.video_encoder),
    )


def _video_encoder(encoder: VideoEncoder | None) -> VideoEncoder | None:
    """Return a video encoder of at most two layers."""
    return None if encoder is None else dataclasses.replace(encoder, depth=min(encoder.depth, 2))


def _fusion(fusion: Fusion, deep: int, depth: int) -> Fusion:
    """Return the same fusion stages in the same order."""
    media = fusion.media_layer
    if media is None or media == fusion.layer:
        layer = _place(fusion.layer, deep, depth)
        return dataclasses.replace(fusion, layer=layer, media_layer=None if media is None else layer)
    # At least 2, so that a media layer below it stays above 0 and below the fusion of all modalities.
    layer = _place(fusion.layer, deep, depth, least=2)
    return dataclasses.replace(fusion, layer=layer, media_layer=min(_place(media, deep, depth), layer - 1))


def _place(layer: int, deep: int, depth: int, least: int = 1) -> int:
    """Map a layer index of a deep model to a shallow one; the first, the last, and those between keep their role."""
    # 12 layers to 4: 0 stays 0, 12 becomes 4, 8 becomes 3; 1 and 11 become 1 and 3, not the ends that rounding gives.
    if layer in (0, deep):
        return layer * depth // deep
    return min(max(round(layer * depth / deep), least), depth - 1)


def _decoder(decoder: Decoder) -> Decoder:
    """Return a narrow decoder of at most two layers."""
    return dataclasses.replace(decoder, depth=min(decoder.depth, 2), width=WIDTH // 2, heads=2)


def _objective(objective: Any) -> Any:
    """Return the objective with narrow heads and the label fields of the shapes."""
    changes: dict[str, Any] = {}
    if isinstance(objective, Classification):
        changes["label"] = _label(objective)
        changes["classes"] = CLASSES[changes["label"]]
    if isinstance(objective, Regression):
        changes |= {"label": "mood", "range": None if objective.range is None else MOOD}
    # By field rather than by class, so that new objectives shrink too: every `width`, and every Decoder.
    for field in dataclasses.fields(objective):
        value = getattr(objective, field.name)
        if field.name == "width" and value is not None:
            # An embedding without a projection has the width of the model.
            changes["width"] = WIDTH if getattr(objective, "unprojected", False) else min(value, 16)
        elif isinstance(value, Decoder):
            changes[field.name] = _decoder(value)
    return dataclasses.replace(objective, **changes)


def _label(objective: Classification) -> str:
    """Return the label field: several classes, a head of an action, or what the shown modalities reveal."""
    if objective.form == "sigmoid":
        return "elements"
    if objective.label in ("verb", "noun"):
        return objective.label
    return LABELS.get(tuple(objective.modalities), "joint")


def _training(training: Training, model: ModelConfig) -> Training:
    """Return four steps from new parameters: no checkpoint has the twin's size."""
    # Without warm-up, or the first steps would have a learning rate of about 0 and test nothing.
    optimizer = dataclasses.replace(training.optimizer, warmup=0, accumulate=1)
    return dataclasses.replace(
        training,
        steps=4,
        optimizer=optimizer,
        tune=_tune(training.tune, model),
        average_from=None if training.average_from is None else 2,
        log_every=1,
        save_every=4,
        evaluate_every=None,
        init_from=None,
        init_fresh=(),
        init_ignore=(),
        tensorboard=False,
    )


def _tune(tune: Tuning, model: ModelConfig) -> Tuning:
    """Return the tuning with the same share of frozen layers."""
    if not (isinstance(model, Model) and tune.freeze_layers):
        return tune
    deep = model_dims(model).depth
    return dataclasses.replace(tune, freeze_layers=_place(tune.freeze_layers, deep, min(deep, DEPTH)))


def _evaluation(evaluation: Evaluation, large: Input, small: Input) -> Evaluation:
    """Return the same tasks on the shapes' test split, with few views, few candidates and short texts.

    Probes and prompts refer to label fields of the recipe's own corpus and are left out.
    """
    return dataclasses.replace(
        evaluation,
        sources=(),
        views=_views(evaluation.views, large.video, small.video),
        decoding=_decoding(evaluation.decoding, small.text),
        rerank=min(evaluation.rerank, 4),
        zero_shot=(),
        probes=(),
    )


def _views(views: Views, large: Video | None, small: Video | None) -> Views:
    """Return at most two temporal views with one crop each, at the recipe's distance in units of a view."""
    few = dataclasses.replace(views, clips=min(views.clips, 2), crops=1)
    if large is None or small is None:
        return few
    if views.resize_shorter is not None:
        few = dataclasses.replace(few, resize_shorter=math.ceil(views.resize_shorter * small.size / large.size))
    if views.stride is not None:
        # A stride of 2 s between views of 4 s becomes 0.5 s between views of 1 s.
        lengths = (small.frames / small.fps) / (large.frames / large.fps)
        few = dataclasses.replace(few, stride=views.stride * lengths)
    return few


def _decoding(decoding: Decoding, text: Text | None) -> Decoding:
    """Return decoding settings with at most two beams, and no texts longer than the training texts."""
    length = decoding.length if text is None or decoding.length is None else min(decoding.length, text.length)
    return dataclasses.replace(
        decoding, beams=min(decoding.beams, 2), length=length, shortest=min(decoding.shortest, 2)
    )
