"""The batches of a config without a corpus: shapes only, as the largest clips would fill them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmvideo.input.annotations import captions
from mmvideo.input.checks import check_config
from mmvideo.input.collate import BatchShape, empty_row
from mmvideo.input.config import DropToken, Input, Masking
from mmvideo.input.planning import token_counts
from mmvideo.input.transforms import patchify
from mmvideo.stream import PADDING, StreamSpec, TextSpec, TokenStream

_LONG = 1e6
"""Seconds of a clip that fills every view."""

_PAD, _BEGIN, _END, _MASK, _ANSWER = 0, 2, 3, 4, 5
"""Ids of the special tokens. Their values change no shape, and neither does the presence of an answer token."""


@dataclasses.dataclass(frozen=True)
class BatchOutline:
    """The static facts about the batches of a config.

    Attributes:
      spec: modalities, patches and vocabulary.
      need: tokens of the largest clip in each of `token_counts.TOKEN_BUDGETS`, after masking and DropToken.
      whole: the same with nothing masked or dropped.
      clips: number of such clips that fill a row.
      shape: static shape of a full row.
      single: static shape of a row for one clip.
      unmasked: static shape of a row for one clip with nothing masked or dropped.
    """

    spec: StreamSpec
    need: dict[str, int]
    whole: dict[str, int]
    clips: int
    shape: BatchShape
    single: BatchShape
    unmasked: BatchShape


def batch_outline(
    config: Input, labels: tuple[str, ...] = (), numbers: tuple[str, ...] = (), moments: bool = False
) -> BatchOutline:
    """Return the outline for clips that are as long as the views, with every modality and the longest caption.

    Args:
      config: input settings.
      labels: class label fields that the objectives need.
      numbers: numeric target fields that they need.
      moments: whether they need moments; a clip then has one.

    Raises:
      ValueError: settings that cannot work, or rows too short for one such clip.
    """
    check_config(config, 1)
    spec = stream_spec(config)
    need, whole = _need(config, config.masking, config.drop_token), _need(config, Masking(), DropToken())
    packing = config.packing
    room = {"tokens": packing.tokens, "clips": packing.clips}
    room |= {name: value for name in spec.modalities if (value := getattr(packing, name)) is not None}
    # room {"tokens": 146, "clips": 2} and need {"tokens": 73, "clips": 1} give min(146 // 73, 2 // 1) = 2 clips.
    clips = min(room[name] // need[name] for name in room if need[name])
    if clips < 1:
        name = next(name for name in room if room[name] < need[name])
        raise ValueError(
            f"the largest clip needs {need[name]} {name}, but packing.{name} is {room[name]}; raise packing.{name} to "
            f"{need[name]} or more, or make views smaller (video.frames, video.size, audio.seconds, text.length)"
        )
    hidden = tuple(name for name in spec.modalities if getattr(config.masking, name) > 0)
    # Budgets that the config sets win; the others, such as hidden tokens, hold exactly the clips of the row.
    full = {name: clips * count for name, count in need.items()} | room
    told = {"kinds": labels, "targets": dict.fromkeys(numbers, 1), "moments": 1 if moments else None}
    return BatchOutline(
        spec,
        need,
        whole,
        clips,
        shape=_shape(spec, full, hidden, told, config.mixing.active),
        single=_shape(spec, need, hidden, told, config.mixing.active),
        unmasked=_shape(spec, whole, (), told),
    )


def stream_spec(config: Input) -> StreamSpec:
    """Return the static spec of the streams, with every configured modality."""
    video = None if config.video is None else patchify.video_spec(config.video)
    audio = None
    if config.audio is not None:
        audio = patchify.audio_spec(config.audio, token_counts.longest_audio(config.audio))
    text = None
    if config.text is not None:
        begin = _BEGIN if config.text.begin else PADDING
        text = TextSpec(vocabulary(config), config.text.length, _MASK, begin, _END, config.text.captions, _PAD, _ANSWER)
    return StreamSpec(video, audio, text)


def vocabulary(config: Input) -> int:
    """Return the vocabulary size of the existing tokenizer, else of the config, else of a new tokenizer."""
    from mmvideo.datasets.build import TOKENIZER
    from mmvideo.media.text import Tokenizer

    named = config.text.tokenizer
    path = Path(named) if named is not None else Path(config.sources[0].path) / TOKENIZER
    if path.is_file():
        return Tokenizer.load(path).vocabulary
    return config.text.vocabulary or captions.VOCABULARY


def abstract_stream(shape: BatchShape, rows: int) -> TokenStream:
    """Return a batch of rows of a shape, as shapes without values."""
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct((rows, *array.shape), array.dtype), empty_row(shape))


def _need(config: Input, masking: Masking, drop: DropToken) -> dict[str, int]:
    """Return the tokens of the largest clip in each budget."""
    everything, text = np.ones(1, bool), config.text
    words = captions.no_captions(1)
    if text is not None:
        text_tokens = np.zeros(text.captions * text.length, np.int32)
        # Every caption of the largest clip has full length: offsets 0, 32, 64, … for captions of 32 tokens.
        words = captions.Captions(
            text_tokens, text.length * np.arange(text.captions + 1), np.array([0, text.captions]), text.begin
        )
    known = token_counts.clip_sizes(np.full(1, _LONG), everything, everything, words, config, masking, drop)
    has = np.array([[config.video is not None, config.audio is not None, text is not None]])
    need = known.largest(np.zeros(1, np.int64), has, words, text.captions if text else 1)
    return dict(zip(token_counts.TOKEN_BUDGETS, need[0].tolist(), strict=True))


def _shape(
    spec: StreamSpec, budget: Mapping[str, int], hidden: tuple[str, ...], told: Mapping[str, Any], mixed: bool = False
) -> BatchShape:
    """Return the static shape of a row with these budgets."""
    return BatchShape(
        spec, np.array([budget[name] for name in token_counts.TOKEN_BUDGETS], np.int64), hidden, mixed=mixed, **told
    )
