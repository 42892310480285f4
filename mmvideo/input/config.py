"""Settings of the input pipeline: from clips to a packed stream of tokens."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmvideo.media.config import Spectrogram


@dataclasses.dataclass(frozen=True)
class Source:
    """One corpus of a mixture.

    Attributes:
      path: folder written by `mmvideo data build`, or `samples:NAME` for an embedded set.
      split: name of one of its splits.
      weight: share of an epoch, relative to the other sources; the epoch then has as many clips as all sources
        together. None for all sources counts every clip once.
    """

    path: str
    split: str = "train"
    weight: float | None = None


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """RandAugment: random operations of fifteen, drawn for each clip in training.

    The defaults are `rand-m7-n4-mstd0.5-inc1`, used in the fine-tuning of VideoMAE. They include colour changes.

    Attributes:
      layers: number of operations drawn one after the other, all fifteen equally likely.
      magnitude: strength of the operations, from 0 to 10.
      deviation: standard deviation of the magnitude of each operation, around `magnitude`.
      probability: probability that a drawn operation is applied.
    """

    layers: int = 4
    magnitude: float = 7.0
    deviation: float = 0.5
    probability: float = 0.5


@dataclasses.dataclass(frozen=True)
class Video:
    """Sampling and patching of video.

    Attributes:
      fps: frames sampled per second; ignored with `uniform` sampling.
      frames: largest number of frames in a view, a multiple of the tubelet's; a shorter clip gives fewer, except with
        `uniform` sampling.
      sampling: `dense` takes frames `1 / fps` seconds apart from a stretch of the clip, `uniform` one from each of
        `frames` equal parts of the whole clip (TSN).
      size: height and width of the square view, in pixels.
      tubelet: frames, rows and columns of pixels in a patch.
      kernel: resize kernel, part of the data's definition.
      rounding: rounding of the longer side when the shorter one is scaled: `nearest`, or `down` as in torchvision and
        transformers.
      crop_scale: smallest area share of a random crop in training; 1.0 always keeps the largest square.
      crop_aspect: smallest and largest ratio of the width of a random crop to its height, before it is made square.
      flip: random horizontal flips in training; leave it off where left and right matter. A clip whose captions or
        classes mention sides, turning or writing is never flipped.
      colour: strength of random brightness, contrast and saturation, 0 for none.
      rand_augment: random operations on colour and shape in training; None for none.
      erase: probability that noise replaces a rectangle of a clip's frames in training.
    """

    fps: float = 8.0
    frames: int = 16
    sampling: Literal["dense", "uniform"] = "dense"
    size: int = 64
    tubelet: tuple[int, int, int] = (4, 16, 16)
    kernel: Literal["area", "bilinear", "bicubic", "lanczos"] = "bicubic"
    rounding: Literal["nearest", "down"] = "nearest"
    crop_scale: float = 1.0
    crop_aspect: tuple[float, float] = (1.0, 1.0)
    flip: bool = False
    colour: float = 0.0
    rand_augment: RandAugment | None = None
    erase: float = 0.0


@dataclasses.dataclass(frozen=True)
class Audio:
    """Sampling and patching of audio.

    Attributes:
      seconds: longest audio of a view, in seconds.
      spectrogram: settings of the spectrogram (Kaldi filter banks or log-mel).
      patch: time steps and mel bins in a patch.
      stride: time steps and mel bins from one patch to the next; None is the patch size.
      time_masks, time_mask: SpecAugment in time: number of masks, and longest mask in time steps.
      mel_masks, mel_mask: the same for mel bins.
      roll: random loudness in training and, where audio is shown without video, a random roll in time: samples that
        leave at the end re-enter at the start (AudioMAE).
      noise: largest noise added to the normalised spectrogram in training (AST: 0.1), 0 for none.
      waveform: samples in a patch of the waveform (VATT: 128), which replaces the spectrogram and its patches; None
        makes a spectrogram.
      sample_rate: sample rate of the waveform, in Hz.
      misaligned: share of the clips with audio shifted against the video in training, among those that have both and
        are long enough.
      shift: smallest shift of misaligned audio, in seconds.
    """

    seconds: float = 2.0
    spectrogram: Spectrogram = Spectrogram()
    patch: tuple[int, int] = (16, 16)
    stride: tuple[int, int] | None = None
    time_masks: int = 0
    time_mask: int = 0
    mel_masks: int = 0
    mel_mask: int = 0
    roll: bool = False
    noise: float = 0.0
    waveform: int | None = None
    sample_rate: int = 48000
    misaligned: float = 0.0
    shift: float = 1.0

    @property
    def hertz(self) -> int:
        """Sample rate of the decoded audio, in Hz."""
        return self.sample_rate if self.waveform else self.spectrogram.sample_rate


@dataclasses.dataclass(frozen=True)
class Text:
    """Conversion of captions to text tokens.

    Attributes:
      tokenizer: SentencePiece model file; None takes the one in the first source's folder, or trains one on the
        captions if the folder has none.
      length: largest number of tokens in a caption, including its marks.
      begin: whether a begin mark precedes each caption, so that its first token is predicted from it; an end mark
        always follows.
      captions: largest number of different captions of a clip, drawn each time (MIL-NCE); evaluation takes only the
        first.
      fill: whether a shorter caption is filled up to `length` with end marks, which other tokens then attend to
        (SigLIP).
      vocabulary: size of a newly trained tokenizer, and the size that `mmvideo plan` assumes if there is no tokenizer
        yet; None is 1000. An existing tokenizer keeps its own.
    """

    tokenizer: str | None = None
    length: int = 32
    begin: bool = False
    captions: int = 1
    fill: bool = False
    vocabulary: int | None = None


@dataclasses.dataclass(frozen=True)
class Masking:
    """Tokens hidden from the encoder, for masked objectives, drawn on the token grid.

    Attributes:
      video: share of the video tokens hidden; 0 hides none.
      video_kind: `tube` hides the same cells in every tubelet step, `random` any tokens, `frame` whole steps, `blocks`
        the same rectangles of cells in every step (V-JEPA): many small or a few large ones, drawn for each clip.
      audio: share of the audio tokens hidden.
      audio_kind: `unstructured` hides any tokens, `time` whole time steps, `frequency` whole mel rows, `time_frequency`
        the same share of both (0.51 is 0.3 of each).
      text: share of the text tokens replaced by the mask token.
      decode: share of the hidden video tokens that are predicted; the decoder sees no others (VideoMAE v2).
      decode_kind: choice of the predicted tokens: `random`, whole steps (`frame`), or a pattern that advances from step
        to step (`running_cell`).
    """

    video: float = 0.0
    video_kind: Literal["tube", "random", "frame", "blocks"] = "tube"
    audio: float = 0.0
    audio_kind: Literal["unstructured", "time", "frequency", "time_frequency"] = "unstructured"
    text: float = 0.0
    decode: float = 1.0
    decode_kind: Literal["random", "frame", "running_cell"] = "running_cell"


@dataclasses.dataclass(frozen=True)
class DropToken:
    """DropToken (VATT): shares of the tokens that are neither encoded nor predicted in training.

    Hidden and visible tokens lose the same share.

    Attributes:
      video, audio: share of the tokens dropped.
      text: share of the text tokens dropped; the marks of a caption stay, and captioning predicts only the tokens left.
    """

    video: float = 0.0
    audio: float = 0.0
    text: float = 0.0


@dataclasses.dataclass(frozen=True)
class ModalityDropout:
    """Modalities of a clip that are shown in training.

    Attributes:
      drop: modality dropout: probability that each modality is dropped, by name, independently of the others; the
        last modality of a clip always stays.
      groups: groups of modalities such as `text-video` and `text-video+audio` (VALOR). A clip draws one of the groups
        that it can serve, and shows no other modality; a clip that can serve none is unchanged.
      weights: relative probability of each group; None draws all equally often.
    """

    drop: dict[str, float] = dataclasses.field(default_factory=dict)
    groups: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixup and cutmix in training: video and audio of another clip are mixed into a clip, captions are not.

    Attributes:
      mixup: both parameters of the Beta distribution of a clip's own share in mixup (VideoMAE: 0.8), 0 for none.
      cutmix: the same for cutmix (VideoMAE: 1.0).
      switch: probability of cutmix where both are on.
      share: probability that a clip is mixed.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    share: float = 1.0

    @property
    def active(self) -> bool:
        """True if any clip is ever mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.share > 0


@dataclasses.dataclass(frozen=True)
class Views:
    """Views of every clip in an evaluation: stretches of time, and squares of each.

    Attributes:
      clips: number of stretches of time, the first at the start of the clip and the last at its end; 1 is the middle.
      crops: number of squares along the longer side, from one end to the other; 1 is the middle.
      stride: seconds from one stretch to the next; the stretches then cover the whole clip, a longer clip has more, and
        `clips` stays 1. None uses `clips`.
      resize_shorter: length of the shorter side in pixels before the square of `video.size` is cut; None is
        `video.size`.
    """

    clips: int = 1
    crops: int = 1
    stride: float | None = None
    resize_shorter: int | None = None


@dataclasses.dataclass(frozen=True)
class Packing:
    """Shape of a batch.

    Attributes:
      rows: rows in the global batch, `B`.
      tokens: token slots in a row, `L`.
      clips: clip slots in a row, `E`.
      video, audio, text: encoded tokens of that modality a row may hold; None derives them from the corpus.
    """

    rows: int = 16
    tokens: int = 512
    clips: int = 8
    video: int | None = None
    audio: int | None = None
    text: int | None = None


@dataclasses.dataclass(frozen=True)
class Input:
    """Settings that determine the tokens of every step of a run.

    Attributes:
      sources: corpora that are mixed.
      video, audio, text: preparation of each modality; None leaves the modality out.
      masking: tokens hidden from the encoder.
      drop_token: tokens dropped in training.
      modality_dropout: modalities of a clip that are shown in training.
      mixing: mixup and cutmix in training.
      embeddings: file of teacher embeddings of the clips (`mmvideo predict embed`), for distillation; None for none.
      packing: shape of a batch.
      seed: seed of all draws: order, crops, masks, captions, modalities.
      threads: rows prepared in parallel; None uses one thread for each core that the process may use, at most 16.
        Decoding does not need Python's lock, but the rest of the work on a clip does: on two cores, two threads
        prepared shapes of 720 x 720 pixels 1.3 times as fast as one, and of 64 x 64 as fast, with up to a tenth more
        processor time (`tools/bench/threads.py`, 2026-12-01).
      prefetch: rows prepared ahead.
      keep: folder that caches batches, as compressed arrays, for other runs with the same input; None caches none.
      memory: bytes of memory in each process for decoded views, used only if those of all clips with the same view in
        every epoch fit (see `clip_cache.py`); 0 keeps none. Batches do not depend on it.
    """

    sources: tuple[Source, ...] = ()
    video: Video | None = Video()
    audio: Audio | None = Audio()
    text: Text | None = Text()
    masking: Masking = Masking()
    drop_token: DropToken = DropToken()
    modality_dropout: ModalityDropout = ModalityDropout()
    mixing: Mixing = Mixing()
    embeddings: str | None = None
    packing: Packing = Packing()
    seed: int = 0
    threads: int | None = None
    prefetch: int = 32
    keep: str | None = None
    memory: int = 2**30
