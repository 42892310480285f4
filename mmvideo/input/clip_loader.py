"""Loader of one clip: reads its video and audio, mixes in another clip, cuts patches and draws masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jax.profiler import TraceAnnotation
from jaxtyping import Bool, Float, Int

from mmvideo.input import spectrogram_rows
from mmvideo.input.annotations.captions import Captions
from mmvideo.input.config import DropToken, Input, Masking, Views
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning.sampled_examples import SampledExamples
from mmvideo.input.planning.token_counts import TokenCounts
from mmvideo.input.rng import ClipRngs, RngStream, clip_rngs, generator
from mmvideo.input.transforms import augment, drop_token, dual_masking, masking, mixup, patchify
from mmvideo.input.transforms.crops import TemporalWindow
from mmvideo.input.view_reader import DecodedView, UnreadableClip, ViewReader, pad_frames
from mmvideo.stream import PADDING


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Tokens of one modality of one clip, in grid order, without the dropped ones.

    Attributes:
      content: patches `[N, P]` or text tokens `[N]`, before masking.
      hidden: True where a token is hidden from the encoder.
      grid, time: as in `stream.TokenLayout`.
    """

    content: Any
    hidden: Bool[np.ndarray, " N"]
    grid: Int[np.ndarray, "N 3"]
    time: Float[np.ndarray, " N"]

    def where_kept(self, keep: Bool[np.ndarray, " N"]) -> Tokens:
        """Return the tokens where `keep` is True."""
        return Tokens(self.content[keep], self.hidden[keep], self.grid[keep], self.time[keep])


@dataclasses.dataclass(frozen=True)
class LoadedExample:
    """Loaded content of one clip.

    Attributes:
      tokens: tokens of each modality that the clip shows.
      view: stretch of time of the clip.
      damaged: whether the file ends early or is damaged.
      share: share of the clip itself in its video and audio.
      partner: the clip that is mixed in, `PADDING` for none.
      lost: the planned partner that cannot be read, with the reason.
    """

    tokens: dict[str, Tokens]
    view: TemporalWindow
    damaged: bool = False
    share: float = 1.0
    partner: int = PADDING
    lost: tuple[int, str] | None = None


class ClipLoader:
    """Loader of the clips of a mixture; safe to use from many threads.

    Args:
      mixture: the clips.
      sizes: steps and tokens of each clip.
      captions: captions as text tokens.
      config: settings of the views.
      mask: shares of hidden tokens.
      drop: shares of dropped tokens.
      train: whether views are drawn, augmented and mixed, or are those of an evaluation.
      views: views of an evaluation.
    """

    def __init__(
        self,
        mixture: CorpusMixture,
        sizes: TokenCounts,
        captions: Captions,
        config: Input,
        mask: Masking,
        drop: DropToken,
        train: bool,
        views: Views = Views(),
    ):
        self.sizes, self.captions, self.config = sizes, captions, config
        self.mask, self.drop, self.train = mask, drop, train
        self._reader = ViewReader(mixture, sizes, config, train, views)

    @property
    def remembered(self) -> str | None:
        """Log line of `ViewReader.remembered`."""
        return self._reader.remembered

    def load(self, sampled: SampledExamples, slot: int, place: tuple[int, int]) -> LoadedExample:
        """Return the content of one of the sampled clips.

        If the file is shorter than its table entry, the last frame is repeated and silence follows. If the partner
        cannot be read, the clip is not mixed.

        Args:
          sampled: clips and their shown content.
          slot: index of the clip in `sampled`.
          place: epoch and position in it, the key of all draws.

        Raises:
          UnreadableClip: the record or its media cannot be read.
        """
        number, draws = int(sampled.clip[slot]), clip_rngs(self.config.seed, self.train, place)
        has_video, has_audio, has_text = sampled.present[slot].tolist()
        # All draws have the key `place`, so the result does not depend on the thread or the order of loading.
        aligned, view = bool(sampled.aligned[slot]), int(sampled.view[slot])
        if has_video or has_audio:
            decoded = self._reader.read(number, (has_video, has_audio), draws, aligned=aligned, view=view)
            loaded = LoadedExample({}, decoded.stretch, decoded.truncated)
            if sampled.partner[slot] != PADDING:
                with TraceAnnotation("mix"):
                    shown = (has_video, has_audio)
                    decoded, loaded = self._mixed(decoded, loaded, int(sampled.partner[slot]), shown, place)
            with TraceAnnotation("tokenise"):
                if has_video:
                    loaded.tokens["video"] = self._video(number, decoded, draws)
                if has_audio:
                    loaded.tokens["audio"] = self._audio(number, decoded, draws)
        else:
            loaded = LoadedExample({}, self._reader.stretch(number, draws, view))
        if has_text:
            loaded.tokens["text"] = self._text(sampled.caption[slot], draws)
        return loaded

    def _mixed(
        self, own: DecodedView, loaded: LoadedExample, partner: int, shown: tuple[bool, bool], place: tuple[int, int]
    ) -> tuple[DecodedView, LoadedExample]:
        """Return a clip with its partner mixed in."""
        seed, size = self.config.seed, self.config.video.size if shown[0] else 0
        try:
            # The partner's draws have the key (epoch, position, 1), so they differ from those of the clip itself.
            other = self._reader.read(partner, shown, clip_rngs(seed, True, (*place, 1)), fitted=own.stretch)
        except UnreadableClip as error:
            return own, dataclasses.replace(loaded, lost=(partner, str(error)))
        blend = mixup.sample_mixup(self.config.mixing, size, generator(seed, RngStream.BLEND, *place))
        frames, heard = own.frames, own.audio
        if shown[0]:
            frames = mixup.mix_frames(frames, pad_frames(other.frames, len(frames)), blend)
        if shown[1]:
            heard = mixup.mix_audio(heard, other.audio, own.stretch.samples, blend.share)
        mixed = dataclasses.replace(own, frames=frames, audio=heard)
        return mixed, dataclasses.replace(loaded, share=blend.share, partner=partner)

    def _video(self, number: int, decoded: DecodedView, draws: ClipRngs) -> Tokens:
        video, steps = self.config.video, int(self.sizes.video_steps[number])
        grid, time = patchify.video_positions(steps, video, decoded.stretch.times)
        cells = patchify.video_spec(video).grid[1:]
        hidden = masking.video_mask(steps, cells, self.mask, draws.mask)
        # Hidden tokens that the decoder does not predict are removed here: neither encoder nor decoder sees them.
        seen = ~hidden | dual_masking.decoder_mask(hidden, steps, cells, self.mask, draws.mask)
        part = Tokens(patchify.video_patches(decoded.frames, video.tubelet), hidden, grid, time)
        return self._dropped(part.where_kept(seen), self.drop.video, draws)

    def _audio(self, number: int, decoded: DecodedView, draws: ClipRngs) -> Tokens:
        audio, steps, stretch = self.config.audio, int(self.sizes.audio_steps[number]), decoded.stretch
        rows = spectrogram_rows.view_spectrogram(decoded.audio, stretch.samples, steps, audio)
        if draws.change is not None and (audio.time_masks or audio.mel_masks):
            rows = augment.mask_spectrogram(rows, audio, draws.change)
        if draws.change is not None and audio.noise:
            rows = augment.add_noise(rows, audio.noise, draws.change)
        grid, time = patchify.audio_positions(steps, audio)
        hidden = masking.audio_mask(steps, len(grid) // steps, self.mask, draws.mask)
        content = patchify.audio_patches(rows, audio)
        # Audio times are relative to the start of the view: with uniform sampling the audio starts later.
        part = Tokens(content, hidden, grid, time + np.float32(stretch.heard))
        return self._dropped(part, self.drop.audio, draws)

    def _text(self, captions: Int[np.ndarray, " k"], draws: ClipRngs) -> Tokens:
        """Return the tokens of all captions, concatenated, each with its marks."""
        parts = [self._caption(int(one), place, draws) for place, one in enumerate(captions[captions >= 0])]
        names = ("content", "hidden", "grid", "time")
        return Tokens(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _caption(self, number: int, place: int, draws: ClipRngs) -> Tokens:
        """Return the tokens of one caption; `place` is its index among the captions of the clip."""
        text_tokens = self.captions.get(number)
        grid, time = patchify.text_positions(len(text_tokens), place)
        # Only words are hidden or dropped: of begin, a, dog, end, the slice is 1 to 3.
        words = slice(int(self.captions.begin), len(text_tokens) - 1)
        hidden, keep = np.zeros(len(text_tokens), bool), np.ones(len(text_tokens), bool)
        hidden[words] = masking.text_mask(len(text_tokens) - self.captions.marks, self.mask, draws.mask)
        keep[words] = drop_token.drop_token_mask(hidden[words], self.drop.text, draws.drop)
        return Tokens(text_tokens, hidden, grid, time).where_kept(keep)

    def _dropped(self, part: Tokens, share: float, draws: ClipRngs) -> Tokens:
        return part.where_kept(drop_token.drop_token_mask(part.hidden, share, draws.drop))
