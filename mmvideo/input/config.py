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
class RandAugment:
    """RandAugment: some of fifteen changes, drawn for a clip while training.

    The defaults are `rand-m7-n4-mstd0.5-inc1`, with which VideoMAE is fine-tuned. Colours change too.

    Attributes:
      layers: changes drawn one after the other, each of the fifteen as often.
      magnitude: how strong they are, from 0 to 10.
      deviation: standard deviation of the magnitude of each, around `magnitude`.
      probability: how often a drawn change is made.
    """

    layers: int = 4
    magnitude: float = 7.0
    deviation: float = 0.5
    probability: float = 0.5


@dataclasses.dataclass(frozen=True)
class Video:
    """How pictures are sampled and patched.

    Attributes:
      fps: frames sampled a second; with `uniform` sampling it says nothing.
      frames: at most so many frames a view, a multiple of the tubelet's; a shorter clip gives fewer, but not with
        `uniform` sampling.
      sampling: `dense` takes frames `1 / fps` seconds apart from a stretch of the clip, `uniform` one from each of
        `frames` equal parts of the whole clip (TSN).
      size: height and width of the square view, in pixels.
      tubelet: frames, rows and columns of pixels in a patch.
      kernel: the resize kernel, part of the data's definition.
      rounding: what becomes of a longer side that is no whole number of pixels when the shorter one is scaled: the
        `nearest`, or the one `down`, as torchvision and transformers have it.
      crop_scale: smallest share of the area that a random crop keeps while training; 1.0 never crops closer.
      crop_aspect: least and largest ratio of the width of a random crop to its height, before it is made square.
      flip: whether left and right may be exchanged while training; leave it off where they matter. A clip
        whose captions or classes speak of sides, turning or writing is never flipped.
      colour: strength of random brightness, contrast and saturation, 0 for none.
      rand_augment: drawn changes of colour and shape while training; None for none.
      erase: how often a rectangle of a clip's pictures is replaced by noise while training.
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
    """How sound is sampled and patched.

    Attributes:
      seconds: longest sound of a view.
      spectrogram: how it becomes a picture of time and mel bins.
      patch: time steps and mel bins in a patch.
      stride: time steps and mel bins from one patch to the next; None is the patch itself.
      time_masks, time_mask: SpecAugment: how many stretches of time are blanked, and the longest (steps).
      mel_masks, mel_mask: the same for mel bins.
      roll: whether sound is made louder or softer while training, and, where it is shown without pictures, turned
        round: what runs out at the end comes in at the start (AudioMAE).
      noise: strongest noise that is added to the normalised spectrogram while training (AST: 0.1), 0 for none.
      waveform: samples in a patch of the bare sound (VATT: 128); it takes the place of the spectrogram and its
        patches. None makes a spectrogram.
      sample_rate: samples a second of the bare sound.
      misaligned: share of the clips whose sound is shifted against the picture while training, of those that
        have both and are long enough.
      shift: shifted sound is at least so many seconds from its place.
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
        """Samples a second of the sound that is decoded."""
        return self.sample_rate if self.waveform else self.spectrogram.sample_rate


@dataclasses.dataclass(frozen=True)
class Text:
    """How captions become pieces.

    Attributes:
      tokenizer: a SentencePiece model file; None takes the one that lies in the first source's folder,
        or makes one of the captions where there is none.
      length: at most so many pieces a caption, its marks included.
      begin: whether a begin mark stands before a caption, from which its first piece is predicted; an end mark
        always stands behind it.
      captions: at most so many different captions of a clip, drawn anew each time (MIL-NCE); evaluation takes
        the first alone.
      fill: whether a shorter caption is filled up to `length` with its end mark, which tokens then see like any other
        piece (SigLIP).
      vocabulary: pieces of a tokenizer that is made, and what `mmvideo plan` reckons with where there is none
        yet; None is 1000. One that is there keeps its own.
    """

    tokenizer: str | None = None
    length: int = 32
    begin: bool = False
    captions: int = 1
    fill: bool = False
    vocabulary: int | None = None


@dataclasses.dataclass(frozen=True)
class Masking:
    """What is hidden from the encoder, for masked objectives, drawn on the token grid.

    Attributes:
      video: share of the video tokens hidden; 0 hides none.
      video_kind: `tube` hides the same cells in every tubelet step, `random` any tokens, `frame` whole steps,
        `blocks` rectangles of cells in every step (V-JEPA): many small or a few large ones, clip by clip.
      audio: share of the audio tokens hidden.
      audio_kind: `unstructured` any tokens, `time` whole time steps, `frequency` whole mel rows,
        `time_frequency` as large a share of both (0.51 is 0.3 of each).
      text: share of the text pieces replaced by the mask piece.
      decode: share of the hidden video tokens that are predicted; the decoder sees no others (VideoMAE v2).
      decode_kind: which: `random` ones, those of whole steps (`frame`), or those of a pattern that moves on
        from step to step (`running_cell`).
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
    """DropToken (VATT): shares of the tokens that are neither encoded nor predicted while training.

    The hidden tokens and the others lose the same share.

    Attributes:
      video, audio: share of the tokens dropped.
      text: share of the pieces dropped; the marks of a caption stay, and captioning predicts of the others what is
        left of them.
    """

    video: float = 0.0
    audio: float = 0.0
    text: float = 0.0


@dataclasses.dataclass(frozen=True)
class ModalityDropout:
    """Which modalities of a clip are shown while training.

    Attributes:
      drop: modality dropout: how often each modality is left out, by name, independently of the others; never
        the last one of a clip.
      groups: groups of modalities such as `text-video` and `text-video+audio` (VALOR). A clip draws one of those
        that it can serve, and shows no other modality; one that can serve none stays as it is.
      weights: how often each group is drawn, relative to the others; None draws all alike.
    """

    drop: dict[str, float] = dataclasses.field(default_factory=dict)
    groups: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixup and cutmix while training: another clip's pictures and sound are mixed into a clip, captions are not.

    Attributes:
      mixup: both parameters of the Beta distribution of a clip's own share in mixup (VideoMAE: 0.8), 0 for none.
      cutmix: the same for cutmix (VideoMAE: 1.0).
      switch: how often it is cutmix, where both may be.
      share: how often a clip is mixed.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    share: float = 1.0

    @property
    def active(self) -> bool:
        """Whether any clip is ever mixed."""
        return (self.mixup > 0 or self.cutmix > 0) and self.share > 0


@dataclasses.dataclass(frozen=True)
class Views:
    """Which views an evaluation takes of every clip: stretches of time, and squares of each.

    Attributes:
      clips: stretches of time, the first at the start of the clip and the last at its end; 1 is the middle.
      crops: squares along the longer side, from one end to the other; 1 is the middle.
      stride: seconds from one stretch to the next; they then cover the whole clip, the longer the more, and `clips`
        stays 1. None takes `clips`.
      resize_shorter: pixels of the shorter side from which the square of `video.size` is cut; None is `video.size`.
    """

    clips: int = 1
    crops: int = 1
    stride: float | None = None
    resize_shorter: int | None = None


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
      drop_token: what is left out of a modality while training.
      modality_dropout: which modalities of a clip are shown while training.
      mixing: how clips are mixed into others while training.
      embeddings: file of what another model made of the clips (`mmvideo predict embed`), for distillation; None
        for none.
      packing: the shape of a batch.
      seed: seed of everything that is drawn: order, crops, masks, captions, modalities.
      threads: rows prepared side by side; None takes a thread for each core that the process may use, at most
        16. Decoding needs no lock of Python's, the rest of the work on a clip does: on two cores, two threads
        prepared shapes of 720 x 720 pixels 1.3 times as fast as one, and of 64 x 64 as fast, with up to a tenth more
        processor time (`tools/bench/threads.py`, 2026-12-01).
      prefetch: rows prepared ahead.
      keep: folder in which batches are kept once they are made, for other runs with the same input; they are
        compressed arrays. None keeps none.
      memory: bytes up to which a run keeps decoded views in memory, in each process, where those of all clips that
        have the same view in every epoch fit (see `clip_cache.py`); 0 keeps none. Batches are the same either way.
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
