"""Sampler of examples: draws captions, modalities, audio shifts and mixup partners, and lists views of an
evaluation."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from mmvideo.input.annotations.captions import Captions
from mmvideo.input.config import Input, Mixing, ModalityDropout, Views
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning import modality_dropout
from mmvideo.input.planning.sampled_examples import SampledExamples
from mmvideo.input.planning.token_counts import TokenCounts, samples
from mmvideo.input.rng import RngStream, generator
from mmvideo.input.transforms import audio_shift, mixup
from mmvideo.input.transforms.crops import view_seconds
from mmvideo.input.transforms.eval_views import view_counts
from mmvideo.stream import Modality


class ExampleSampler:
    """Sampler of the shown content of the clips of an epoch; in evaluation, everything with the first caption.

    Args:
      has: modalities that every clip has and may show.
      captions: the captions of every clip.
      shiftable: whether the audio of every clip can be shifted.
      config: the settings.
      train: False draws no captions, modalities or partners.
      misaligned: whether audio is shifted at the rate of `config.audio`.
      views: number of views of every clip, listed one after the other; None is one view of each.
    """

    def __init__(
        self,
        has: Bool[np.ndarray, "n 3"],
        captions: Captions,
        shiftable: Bool[np.ndarray, " n"],
        config: Input,
        train: bool,
        misaligned: bool,
        views: Int[np.ndarray, " n"] | None = None,
    ):
        self.has, self.captions, self.shiftable = has, captions, shiftable
        self.seed, self.train = config.seed, train
        self.presence = config.modality_dropout if train else ModalityDropout()
        self.mixing = config.mixing if train else Mixing()
        self.views = np.ones(len(has), np.int64) if views is None else views
        self.misaligned = config.audio.misaligned if misaligned and config.audio is not None else 0.0
        # More columns than the largest number of captions of any clip would only hold -1.
        most = int(np.diff(captions.first).max(initial=1))
        self.count = min(config.text.captions, most) if train and config.text is not None else 1

    def pick(self, clips: Int[np.ndarray, " n"], epoch: int) -> SampledExamples:
        """Return the samples of these clips in their order in an epoch; a clip is repeated for each of its views."""
        clips, view = self._viewed(clips)
        uniform = self._uniform(RngStream.CAPTION, epoch, len(clips), self.count) if self.train else None
        caption = self.captions.choose(clips, uniform)
        present = self.has[clips]
        if self.presence != ModalityDropout():
            present = modality_dropout.shown(
                present, self.presence, self._uniform(RngStream.PRESENCE, epoch, len(clips), modality_dropout.DRAWS)
            )
        aligned = np.ones(len(clips), bool)
        if self.misaligned:
            # Only a clip that shows both modalities can be misaligned; a draw below the rate shifts it.
            both = present[:, Modality.VIDEO] & present[:, Modality.AUDIO] & self.shiftable[clips]
            aligned = ~both | (self._uniform(RngStream.MISALIGN, epoch, len(clips), 1)[:, 0] >= self.misaligned)
        caption = np.where(present[:, Modality.TEXT, None], caption, -1)
        partner = None
        if self.mixing.active:
            uniform = self._uniform(RngStream.PARTNER, epoch, len(clips), mixup.DRAWS)
            partner = mixup.sample_partners(clips, self.has[clips], present, self.mixing.share, uniform)
        return SampledExamples(clips, caption, present, aligned, view, partner)

    def _viewed(self, clips: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " v"], Int[np.ndarray, " v"]]:
        """Repeat every clip for each of its views, and return the clips and the index of each view."""
        counts = self.views[clips]
        # counts [2, 3]: first is [0, 0, 2, 2, 2], so the views are [0, 1, 0, 1, 2].
        first = np.repeat(np.cumsum(counts) - counts, counts)
        return np.repeat(clips, counts), np.arange(len(first)) - first

    def _uniform(self, purpose: RngStream, epoch: int, clips: int, numbers: int) -> np.ndarray:
        return generator(self.seed, purpose, epoch).random((clips, numbers))


def make_sampler(
    corpus: CorpusMixture,
    sizes: TokenCounts,
    captions: Captions,
    config: Input,
    shown: Bool[np.ndarray, " 3"],
    train: bool,
    misaligned: bool,
    views: Views = Views(),
) -> ExampleSampler:
    """Return the sampler of the clips of a corpus.

    Args:
      corpus, sizes, captions: the clips, the steps of each, and their captions.
      config: the settings.
      shown: modalities that may be shown of any clip.
      train, misaligned: see `ExampleSampler`.
      views: views of an evaluation.

    Raises:
      ValueError: the settings fit no clip.
    """
    has = np.stack([sizes.video_steps > 0, sizes.audio_steps > 0, np.diff(captions.first) > 0], axis=1)
    heard = np.zeros(len(has), np.int64)
    if config.audio is not None:
        heard = np.where(sizes.audio_steps > 0, samples(corpus.seconds, config.audio), 0)
    able = audio_shift.shiftable(corpus.seconds, sizes.video_steps, heard, config.video, config.audio)
    lengths = view_seconds(corpus.seconds, sizes.video_steps, heard, config.video, config.audio)
    counts = view_counts(corpus.seconds, lengths, views)
    sampler = ExampleSampler(has & shown, captions, able, config, train, misaligned, counts)
    groups = sampler.presence.groups
    if groups and not modality_dropout.serves(has, groups).any():
        raise ValueError(f"input.modality_dropout.groups {groups}: no clip has all modalities of one of them")
    if sampler.misaligned and not able.any():
        raise ValueError(
            f"input.audio.misaligned={sampler.misaligned}: no clip with pictures has {2 * config.audio.shift} seconds "
            "of sound or lasts so much longer than a view; lower input.audio.shift"
        )
    return sampler
