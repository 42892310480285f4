"""The tiny twin of a recipe: the same choices at a size that a laptop trains for a step in seconds.

A twin keeps every choice (fusion, sharing, positions, masks, objectives, optimiser) and shrinks what
only costs: width and depth, the grid of tokens, words, rows, steps and views. It learns from generated
sounding shapes in place of the recipe's corpora, which are rarely at hand: one class from the label that what is
shown tells of, several classes from their `elements`, a number from their `mood`, and moments and events from long
videos of them.
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
"""Where tools/quickstart.sh builds the sounding shapes."""

SCENES, DENSE = "corpora/quickstart/scenes", "corpora/quickstart/dense"
"""Where corpora of `mmvideo data scenes` are looked for: queries over long videos with their moments, and what happens
in the videos as texts with time tokens."""

DEPTH, WIDTH, HEADS = 4, 48, 4
CELLS = 4
"""Rows and columns of patches in a picture, and time steps of sound."""

STEPS, LONG = 2, 8
"""Tubelet steps of a clip, and of a long video in which moments are to be found."""

SECONDS = 1.6
"""What the shortest shape lasts."""

TEXT_TOKENS, TOLD = 12, 32
"""Pieces of a caption, and of a text that tells what happens in a long video."""

LABELS = {("video",): "visual", ("audio",): "audio"}
"""The kind of label that the shapes have for what a classifier sees; `joint` for all else."""

CLASSES = {kind: len(names) for kind, names in attributes.LABELS.items()} | {
    "verb": len(attributes.MOTIONS),
    "noun": len(attributes.SHAPES),
    "instrument": len(attributes.TIMBRES),
    "elements": len(attributes.COLOURS) + len(attributes.SHAPES) + len(attributes.TIMBRES),
}
"""How many classes each kind has."""

MOOD = (-3.0, 3.0)
"""Lowest and highest mood of a shape."""


def tiny_twin(experiment: Experiment) -> Experiment:
    """The tiny twin of an experiment, named after it."""
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
    """The corpus that has what the experiment asks for."""
    if any(isinstance(objective, Moments) for objective in experiment.objectives.values()):
        return SCENES
    return DENSE if "dense_captioning" in (experiment.evaluation.tasks or ()) else CORPUS


def _input(config: Input, corpus: str) -> Input:
    """Two clips a row at most, of few tokens, from the shapes, or from long videos of them."""
    packing, long = config.packing, corpus != CORPUS
    small = dataclasses.replace(
        config,
        sources=(Source(corpus),),
        video=None if config.video is None else _video(config.video, long),
        audio=None if config.audio is None else _audio(config.audio),
        text=None if config.text is None else _text(config.text, TOLD if corpus == DENSE else TEXT_TOKENS),
        packing=dataclasses.replace(packing, tokens=2**20, video=None, audio=None, text=None),
        threads=1,
    )
    clips = min(packing.clips, 2)
    tokens = clips * batch_outline(small).need["tokens"]
    rows = dataclasses.replace(small.packing, rows=8, clips=clips, tokens=tokens)
    return dataclasses.replace(small, packing=rows)


def _video(video: Video, long: bool) -> Video:
    """A few patches of the same size, and as many frames a second as a shape lasts for."""
    step, height, width = video.tubelet
    frames = min(video.frames, (LONG if long else STEPS) * step)
    fps = video.fps if long else max(video.fps, frames / SECONDS)
    return dataclasses.replace(video, frames=frames, size=CELLS * max(height, width), fps=fps)


def _audio(audio: Audio) -> Audio:
    """A few time steps; of patches of the same size, unless a shape does not last for them."""
    if audio.waveform is not None:
        return dataclasses.replace(audio, seconds=2 * CELLS * audio.waveform / audio.sample_rate)
    hop, window = audio.spectrogram.hop_seconds, audio.spectrogram.window_seconds
    (high, bins), (step, jump) = audio.patch, audio.stride or audio.patch
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
    return dataclasses.replace(text, tokenizer=None, vocabulary=None, length=min(text.length, text_tokens))


def _model(model: ModelConfig) -> ModelConfig:
    """Four thin layers, which meet where the recipe's meet; a narrow baseline."""
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
    return None if encoder is None else dataclasses.replace(encoder, depth=min(encoder.depth, 2))


def _fusion(fusion: Fusion, deep: int, depth: int) -> Fusion:
    """The same stages in the same order."""
    media = fusion.media_layer
    if media is None or media == fusion.layer:
        layer = _place(fusion.layer, deep, depth)
        return dataclasses.replace(fusion, layer=layer, media_layer=None if media is None else layer)
    layer = _place(fusion.layer, deep, depth, least=2)
    return dataclasses.replace(fusion, layer=layer, media_layer=min(_place(media, deep, depth), layer - 1))


def _place(layer: int, deep: int, depth: int, least: int = 1) -> int:
    """A layer of a deep model in a shallow one; what lies between first and last stays between."""
    if layer in (0, deep):
        return layer * depth // deep
    return min(max(round(layer * depth / deep), least), depth - 1)


def _decoder(decoder: Decoder) -> Decoder:
    return dataclasses.replace(decoder, depth=min(decoder.depth, 2), width=WIDTH // 2, heads=2)


def _objective(objective: Any) -> Any:
    """Narrow heads, and the labels that the shapes have."""
    changes: dict[str, Any] = {}
    if isinstance(objective, Classification):
        changes["label"] = _label(objective)
        changes["classes"] = CLASSES[changes["label"]]
    if isinstance(objective, Regression):
        changes |= {"label": "mood", "range": None if objective.range is None else MOOD}
    for field in dataclasses.fields(objective):
        value = getattr(objective, field.name)
        if field.name == "width" and value is not None:
            # A side without a projection is as wide as the model.
            changes["width"] = WIDTH if getattr(objective, "unprojected", False) else min(value, 16)
        elif isinstance(value, Decoder):
            changes[field.name] = _decoder(value)
    return dataclasses.replace(objective, **changes)


def _label(objective: Classification) -> str:
    """What shapes have several classes of, the two heads of an action, or what can be told of what is shown."""
    if objective.form == "sigmoid":
        return "elements"
    if objective.label in ("verb", "noun"):
        return objective.label
    return LABELS.get(tuple(objective.modalities), "joint")


def _training(training: Training, model: ModelConfig) -> Training:
    """A few steps, the first of which moves something already, from new parameters: no checkpoint is as small."""
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
    """The same share of frozen layers."""
    if not (isinstance(model, Model) and tune.freeze_layers):
        return tune
    deep = model_dims(model).depth
    return dataclasses.replace(tune, freeze_layers=_place(tune.freeze_layers, deep, min(deep, DEPTH)))


def _evaluation(evaluation: Evaluation, large: Input, small: Input) -> Evaluation:
    """The same tasks on the shapes' own held-out clips, in few views, of few candidates and short texts.

    Probes and prompts ask for kinds of label of the recipe's own corpus and are left out.
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
    """At most two stretches, of one square each; as far apart, in lengths of a view, as the recipe's."""
    few = dataclasses.replace(views, clips=min(views.clips, 2), crops=1)
    if large is None or small is None:
        return few
    if views.resize_shorter is not None:
        few = dataclasses.replace(few, resize_shorter=math.ceil(views.resize_shorter * small.size / large.size))
    if views.stride is not None:
        lengths = (small.frames / small.fps) / (large.frames / large.fps)
        few = dataclasses.replace(few, stride=views.stride * lengths)
    return few


def _decoding(decoding: Decoding, text: Text | None) -> Decoding:
    """Two beginnings side by side at most, and no text longer than those it learns from."""
    length = decoding.length if text is None or decoding.length is None else min(decoding.length, text.length)
    return dataclasses.replace(
        decoding, beams=min(decoding.beams, 2), length=length, shortest=min(decoding.shortest, 2)
    )
