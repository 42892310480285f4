"""Settings of the input room: from clips to a packed stream of tokens."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mmvideo.media.config import Spectrogram


@dataclasses.dataclass(frozen=True)
class Source:
    """One corpus of a mixture.

    Attributes:
      path: folder written by `mmvideo data build`, or `samples:NAME` for an embedded set.
      split: which of its splits.
      weight: its share of an epoch, relative to the other sources, of as many clips as all sources hold;
        None for all sources counts every clip once.
    """

    path: str
    split: str = "train"
    weight: float | None = None


@dataclasses.dataclass(frozen=True)
class Video:
    """How pictures are sampled and patched.

    Attributes:
      fps: frames sampled a second.
      frames: at most so many frames a view, a multiple of the tubelet's; a shorter clip gives fewer.
      size: height and width of the square view, in pixels.
      tubelet: frames, rows and columns of pixels in a patch.
      kernel: the resize kernel, part of the data's definition.
      crop_scale: smallest share of the area that a random crop keeps while training; 1.0 never crops closer.
      flip: whether left and right may be exchanged while training; leave it off where they matter. A clip
        whose captions or classes speak of sides, turning or writing is never flipped.
      colour: strength of random brightness, contrast and saturation, 0 for none.
    """

    fps: float = 8.0
    frames: int = 16
    size: int = 64
    tubelet: tuple[int, int, int] = (4, 16, 16)
    kernel: Literal["area", "bilinear", "bicubic", "lanczos"] = "bicubic"
    crop_scale: float = 1.0
    flip: bool = False
    colour: float = 0.0


@dataclasses.dataclass(frozen=True)
class Audio:
    """How sound is sampled and patched.

    Attributes:
      seconds: longest sound of a view.
      spectrogram: how it becomes a picture of time and mel bins.
      patch: time steps and mel bins in a patch.
      stride: time steps and mel bins from one patch to the next; None is the patch itself.
      time_masks, time_mask: SpecAugment: how many stretches of time are blanked, and the longest (steps).
      mel_masks, mel_mask: the same for mel bins.
    """

    seconds: float = 2.0
    spectrogram: Spectrogram = Spectrogram()
    patch: tuple[int, int] = (16, 16)
    stride: tuple[int, int] | None = None
    time_masks: int = 0
    time_mask: int = 0
    mel_masks: int = 0
    mel_mask: int = 0


@dataclasses.dataclass(frozen=True)
class Text:
    """How captions become pieces.

    Attributes:
      tokenizer: a SentencePiece model file; None takes the one that lies in the first source's folder,
        or makes one of the captions where there is none.
      length: at most so many pieces a caption, its marks included.
      begin: whether a begin mark stands before a caption, from which its first piece is predicted; an end mark
        always stands behind it.
      vocabulary: pieces of a tokenizer that is made, and what `mmvideo plan` reckons with where there is none
        yet; None is 1000. One that is there keeps its own.
    """

    tokenizer: str | None = None
    length: int = 32
    begin: bool = False
    vocabulary: int | None = None


@dataclasses.dataclass(frozen=True)
class Masking:
    """What is hidden from the encoder, for masked objectives, drawn on the token grid.

    Attributes:
      video: share of the video tokens hidden; 0 hides none.
      video_kind: `tube` hides the same cells in every tubelet step, `random` any tokens, `frame` whole steps.
      audio: share of the audio tokens hidden.
      audio_kind: `unstructured` any tokens, `time` whole time steps, `frequency` whole mel rows.
      text: share of the text pieces replaced by the mask piece.
    """

    video: float = 0.0
    video_kind: Literal["tube", "random", "frame"] = "tube"
    audio: float = 0.0
    audio_kind: Literal["unstructured", "time", "frequency"] = "unstructured"
    text: float = 0.0


@dataclasses.dataclass(frozen=True)
class Packing:
    """The shape of a batch.

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
    """Everything that decides which tokens step `n` of a run sees.

    Attributes:
      sources: the corpora that are mixed.
      video, audio, text: how each modality is prepared; None leaves the modality out.
      masking: what is hidden from the encoder.
      packing: the shape of a batch.
      seed: seed of order, crops, masks and caption choice.
      threads: rows prepared side by side. PyAV gives Python's lock away at every packet and frame, so that
        more than one or two threads spend more on passing it than they gain.
      prefetch: rows prepared ahead.
    """

    sources: tuple[Source, ...] = ()
    video: Video | None = Video()
    audio: Audio | None = Audio()
    text: Text | None = Text()
    masking: Masking = Masking()
    packing: Packing = Packing()
    seed: int = 0
    threads: int = 2
    prefetch: int = 32
