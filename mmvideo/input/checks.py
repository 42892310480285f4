"""Checks of the input settings, made before any corpus is opened."""

from __future__ import annotations

from mmvideo.input.config import Audio, Input, Text, Video, Views
from mmvideo.input.planning.modality_dropout import members
from mmvideo.stream import MAX_CAPTIONS, MODALITIES


def check_config(config: Input, process_count: int) -> None:
    """Check the settings.

    Raises:
      ValueError: a setting cannot work; the message has its name, its value and the allowed values.
    """
    if not config.sources:
        raise ValueError("input.sources is empty; name a corpus folder or an embedded set such as samples:all")
    if config.video is None and config.audio is None:
        raise ValueError("input.video and input.audio are both None; a run needs pictures or sound")
    if config.seed < 0:
        raise ValueError(f"input.seed={config.seed} must be 0 or more")
    if config.video is not None:
        _check_video(config.video)
    if config.audio is not None:
        _check_audio(config.audio)
    if config.text is not None:
        _check_text(config.text)
    _check_masking(config)
    _check_presence(config)
    _check_mixing(config)
    packing = config.packing
    for name in ("rows", "tokens", "clips", "video", "audio", "text"):
        value = getattr(packing, name)
        if value is not None and value < 1:
            raise ValueError(f"input.packing.{name}={value} must be 1 or more")
    for name in ("threads", "prefetch"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"input.{name}={value} must be 1 or more")
    # Each process makes the same number of rows: 16 rows on 3 processes do not divide.
    if packing.rows % process_count:
        raise ValueError(f"input.packing.rows={packing.rows} must be a multiple of the {process_count} processes")


def check_views(views: Views, config: Input, train: bool) -> None:
    """Check the views of an evaluation.

    Raises:
      ValueError: a setting cannot work; the message has its name, its value and the allowed values.
    """
    if train and views != Views():
        raise ValueError(f"views={views} are for evaluation; training draws its own")
    if min(views.clips, views.crops) < 1:
        raise ValueError(f"views.clips={views.clips} and crops={views.crops} must be 1 or more")
    if views.stride is not None and (views.stride <= 0 or views.clips != 1):
        raise ValueError(f"views.stride={views.stride} must be above 0, and views.clips={views.clips} then be 1")
    if config.video is None:
        return
    if views.stride is not None and config.video.sampling == "uniform":
        raise ValueError("views.stride is for input.video.sampling dense: a uniform view is the whole clip")
    if views.resize_shorter is not None and views.resize_shorter < config.video.size:
        raise ValueError(
            f"views.resize_shorter={views.resize_shorter} must be at least input.video.size={config.video.size}"
        )


def _check_video(video: Video) -> None:
    frames, height, width = video.tubelet
    if min(video.tubelet) < 1 or video.fps <= 0:
        raise ValueError(f"input.video.tubelet={video.tubelet} and fps={video.fps} must be positive")
    if video.frames < frames or video.frames % frames:
        raise ValueError(f"input.video.frames={video.frames} must be a multiple of the tubelet's {frames}")
    if video.size < 1 or video.size % height or video.size % width:
        raise ValueError(f"input.video.size={video.size} must be a multiple of the tubelet's {height} and {width}")
    if not 0 < video.crop_scale <= 1:
        raise ValueError(f"input.video.crop_scale={video.crop_scale} must be above 0 and at most 1")
    if not 0 < video.crop_aspect[0] <= video.crop_aspect[1]:
        raise ValueError(f"input.video.crop_aspect={video.crop_aspect} must be a range above 0, the least first")
    if video.colour < 0:
        raise ValueError(f"input.video.colour={video.colour} must be 0 or more")
    if not 0 <= video.erase <= 1:
        raise ValueError(f"input.video.erase={video.erase} must be from 0 to 1")
    drawn = video.rand_augment
    if drawn is not None:
        if drawn.layers < 0 or drawn.deviation < 0 or not 0 <= drawn.magnitude <= 10:
            raise ValueError(
                f"input.video.rand_augment {drawn}: layers and deviation must be 0 or more, magnitude 0 to 10"
            )
        if not 0 <= drawn.probability <= 1:
            raise ValueError(f"input.video.rand_augment.probability={drawn.probability} must be from 0 to 1")


def _check_audio(audio: Audio) -> None:
    if audio.seconds <= 0 or audio.shift <= 0:
        raise ValueError(f"input.audio.seconds={audio.seconds} and shift={audio.shift} must be positive")
    if not 0 <= audio.misaligned <= 1:
        raise ValueError(f"input.audio.misaligned={audio.misaligned} must be from 0 to 1")
    if min(audio.time_masks, audio.time_mask, audio.mel_masks, audio.mel_mask) < 0:
        raise ValueError("input.audio.time_masks, time_mask, mel_masks and mel_mask must be 0 or more")
    if audio.noise < 0:
        raise ValueError(f"input.audio.noise={audio.noise} must be 0 or more")
    if audio.waveform is None:
        _check_patches(audio)
    elif audio.waveform < 1 or audio.sample_rate < 1:
        raise ValueError(f"input.audio.waveform={audio.waveform} and sample_rate={audio.sample_rate} must be 1 or more")
    elif audio.stride is not None or audio.time_masks or audio.mel_masks or audio.noise:
        raise ValueError(
            "input.audio.stride, time_masks, mel_masks and noise are for a spectrogram; leave them out, or set "
            "input.audio.waveform to None"
        )


def _check_patches(audio: Audio) -> None:
    stride = audio.stride or audio.patch
    if min(*audio.patch, *stride) < 1:
        raise ValueError(f"input.audio.patch={audio.patch} and stride={stride} must be positive")
    if audio.patch[1] > audio.spectrogram.bins:
        raise ValueError(f"input.audio.patch={audio.patch} is higher than the {audio.spectrogram.bins} mel bins")


def _check_text(text: Text) -> None:
    least = 3 if text.begin else 2
    if text.length < least:
        raise ValueError(f"input.text.length={text.length} must be {least} or more: a piece and the marks around it")
    if not 0 < text.captions < MAX_CAPTIONS:
        raise ValueError(f"input.text.captions={text.captions} must be from 1 to {MAX_CAPTIONS - 1}")


def _check_masking(config: Input) -> None:
    masking = config.masking
    if masking.text and config.text is not None and config.text.fill:
        raise ValueError("input.masking.text hides words, and input.text.fill makes end marks of most pieces: set one")
    for name in MODALITIES:
        for part in ("masking", "drop_token"):
            share = getattr(getattr(config, part), name)
            if not 0 <= share < 1:
                raise ValueError(f"input.{part}.{name}={share} must be at least 0 and below 1")
    if not 0 < masking.decode <= 1:
        raise ValueError(f"input.masking.decode={masking.decode} must be above 0 and at most 1")
    bare = config.audio is not None and config.audio.waveform is not None
    if bare and masking.audio and masking.audio_kind not in ("unstructured", "time"):
        raise ValueError(
            f"input.masking.audio_kind={masking.audio_kind} is for a spectrogram; with input.audio.waveform take "
            "unstructured or time"
        )


def _check_presence(config: Input) -> None:
    presence = config.modality_dropout
    for name, rate in presence.drop.items():
        if name not in MODALITIES:
            raise ValueError(f"input.modality_dropout.drop names {name!r}, which is none of {', '.join(MODALITIES)}")
        if not 0 <= rate <= 1:
            raise ValueError(f"input.modality_dropout.drop[{name!r}]={rate} must be from 0 to 1")
    wanted = members(presence.groups).any(axis=0)
    for name, needed in zip(MODALITIES, wanted, strict=True):
        if needed and getattr(config, name) is None:
            raise ValueError(f"input.modality_dropout.groups {presence.groups} need {name}, but input.{name} is None")
    weights = presence.weights
    if weights is not None and (len(weights) != len(presence.groups) or not all(weight > 0 for weight in weights)):
        raise ValueError(
            f"input.modality_dropout.weights {weights} must be one above 0 for each of the groups {presence.groups}"
        )


def _check_mixing(config: Input) -> None:
    mixing = config.mixing
    if min(mixing.mixup, mixing.cutmix) < 0:
        raise ValueError(f"input.mixing.mixup={mixing.mixup} and cutmix={mixing.cutmix} must be 0 or more")
    for name in ("switch", "share"):
        if not 0 <= getattr(mixing, name) <= 1:
            raise ValueError(f"input.mixing.{name}={getattr(mixing, name)} must be from 0 to 1")
    if mixing.active and config.embeddings is not None:
        raise ValueError(
            "input.embeddings tell what another model made of clips as they are; leave them out, or set "
            "input.mixing.mixup and cutmix to 0"
        )
