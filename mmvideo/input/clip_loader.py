"""One clip from its record to its tokens: read its footage, mix another in, cut it into patches, draw its masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from mmvideo.input import spectrogram_rows
from mmvideo.input.annotations.captions import Captions
from mmvideo.input.config import Drop, Input, Masking, Views
from mmvideo.input.mixture import Mixture
from mmvideo.input.planning.sampled_examples import Picks
from mmvideo.input.planning.token_counts import Sizes
from mmvideo.input.rng import ClipDraws, Purpose, clip_draws, generator
from mmvideo.input.transforms import augment, drop_token, dual_masking, masking, mixup, patchify
from mmvideo.input.transforms.crops import Stretch
from mmvideo.input.view_reader import Footage, FootageReader, UnreadableClip, filled
from mmvideo.stream import PADDING


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The tokens of one modality of one clip, in the order of their grid, without those that are dropped.

    Attributes:
      content: patches `[N, P]` or pieces `[N]`, nothing hidden yet.
      hidden: True where it is hidden from the encoder.
      grid, time: as in `stream.Layout`.
    """

    content: Any
    hidden: Bool[np.ndarray, " N"]
    grid: Int[np.ndarray, "N 3"]
    time: Float[np.ndarray, " N"]

    def kept(self, keep: Bool[np.ndarray, " N"]) -> Tokens:
        """Those that stay."""
        return Tokens(self.content[keep], self.hidden[keep], self.grid[keep], self.time[keep])


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What one clip gives.

    Attributes:
      tokens: of each modality that it shows.
      view: the stretch of time that it shows.
      damaged: whether its file ends early or is damaged.
      share: what of its pictures and sound is its own.
      partner: the clip that is mixed in, `PADDING` for none.
      lost: the clip that was to be mixed in but cannot be read, and the reason.
    """

    tokens: dict[str, Tokens]
    view: Stretch
    damaged: bool = False
    share: float = 1.0
    partner: int = PADDING
    lost: tuple[int, str] | None = None


class ClipLoader:
    """Loads clips of a mixture; safe to use from many threads.

    Args:
      mixture: the clips.
      sizes: how many steps each gives.
      captions: their captions as pieces.
      config: how views are made.
      mask: what is hidden.
      drop: what is dropped.
      train: whether views are drawn, augmented and mixed, or are those of an evaluation.
      views: of an evaluation.
    """

    def __init__(
        self,
        mixture: Mixture,
        sizes: Sizes,
        captions: Captions,
        config: Input,
        mask: Masking,
        drop: Drop,
        train: bool,
        views: Views = Views(),
    ):
        self.sizes, self.captions, self.config = sizes, captions, config
        self.mask, self.drop, self.train = mask, drop, train
        self._reader = FootageReader(mixture, sizes, config, train, views)

    def load(self, picks: Picks, slot: int, place: tuple[int, int]) -> Loaded:
        """What one of the picked clips gives.

        Where the file holds less than its table said, the last frame is repeated and silence follows. A clip stays as
        it is where the one that is to be mixed in cannot be read.

        Args:
          picks: clips, and what is shown of them.
          slot: which of them.
          place: epoch and position in it, from which everything is drawn.

        Raises:
          UnreadableClip: the record or its media cannot be read.
        """
        number, draws = int(picks.clip[slot]), clip_draws(self.config.seed, self.train, place)
        has_video, has_audio, has_text = picks.present[slot].tolist()
        aligned, view = bool(picks.aligned[slot]), int(picks.view[slot])
        if has_video or has_audio:
            footage = self._reader.read(number, (has_video, has_audio), draws, aligned=aligned, view=view)
            loaded = Loaded({}, footage.stretch, footage.truncated)
            if picks.partner[slot] != PADDING:
                footage, loaded = self._mixed(footage, loaded, int(picks.partner[slot]), (has_video, has_audio), place)
            if has_video:
                loaded.tokens["video"] = self._video(number, footage, draws)
            if has_audio:
                loaded.tokens["audio"] = self._audio(number, footage, draws)
        else:
            loaded = Loaded({}, self._reader.stretch(number, draws, view))
        if has_text:
            loaded.tokens["text"] = self._text(picks.caption[slot], draws)
        return loaded

    def _mixed(
        self, own: Footage, loaded: Loaded, partner: int, shown: tuple[bool, bool], place: tuple[int, int]
    ) -> tuple[Footage, Loaded]:
        """A clip with its partner mixed in, which is read as if it came at a place of its own."""
        seed, size = self.config.seed, self.config.video.size if shown[0] else 0
        try:
            other = self._reader.read(partner, shown, clip_draws(seed, True, (*place, 1)), fitted=own.stretch)
        except UnreadableClip as error:
            return own, dataclasses.replace(loaded, lost=(partner, str(error)))
        blend = mixup.draw_blend(self.config.mixing, size, generator(seed, Purpose.BLEND, *place))
        frames, heard = own.frames, own.heard
        if shown[0]:
            frames = mixup.blend_frames(frames, filled(other.frames, len(frames)), blend)
        if shown[1]:
            heard = mixup.blend_sound(heard, other.heard, own.stretch.samples, blend.share)
        mixed = dataclasses.replace(own, frames=frames, heard=heard)
        return mixed, dataclasses.replace(loaded, share=blend.share, partner=partner)

    def _video(self, number: int, footage: Footage, draws: ClipDraws) -> Tokens:
        video, steps = self.config.video, int(self.sizes.video_steps[number])
        grid, time = patchify.video_places(steps, video, footage.stretch.times)
        cells = patchify.video_spec(video).grid[1:]
        hidden = masking.video_mask(steps, cells, self.mask, draws.mask)
        seen = ~hidden | dual_masking.predicted(hidden, steps, cells, self.mask, draws.mask)
        part = Tokens(patchify.video_patches(footage.frames, video.tubelet), hidden, grid, time)
        return self._dropped(part.kept(seen), self.drop.video, draws)

    def _audio(self, number: int, footage: Footage, draws: ClipDraws) -> Tokens:
        audio, steps, stretch = self.config.audio, int(self.sizes.audio_steps[number]), footage.stretch
        rows = spectrogram_rows.heard_rows(footage.heard, stretch.samples, steps, audio)
        if draws.change is not None and (audio.time_masks or audio.mel_masks):
            rows = augment.mask_spectrogram(rows, audio, draws.change)
        if draws.change is not None and audio.noise:
            rows = augment.add_noise(rows, audio.noise, draws.change)
        grid, time = patchify.audio_places(steps, audio)
        hidden = masking.audio_mask(steps, len(grid) // steps, self.mask, draws.mask)
        content = patchify.audio_patches(rows, audio)
        part = Tokens(content, hidden, grid, time + np.float32(stretch.heard))
        return self._dropped(part, self.drop.audio, draws)

    def _text(self, captions: Int[np.ndarray, " k"], draws: ClipDraws) -> Tokens:
        """The captions one behind the other, each with its marks."""
        parts = [self._caption(int(one), place, draws) for place, one in enumerate(captions[captions >= 0])]
        names = ("content", "hidden", "grid", "time")
        return Tokens(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _caption(self, number: int, place: int, draws: ClipDraws) -> Tokens:
        """One caption, in its place among those of its clip."""
        pieces = self.captions.get(number)
        grid, time = patchify.text_places(len(pieces), place)
        words = slice(int(self.captions.begin), len(pieces) - 1)
        hidden, keep = np.zeros(len(pieces), bool), np.ones(len(pieces), bool)
        hidden[words] = masking.text_mask(len(pieces) - self.captions.marks, self.mask, draws.mask)
        keep[words] = drop_token.keep(hidden[words], self.drop.text, draws.drop)
        return Tokens(pieces, hidden, grid, time).kept(keep)

    def _dropped(self, part: Tokens, share: float, draws: ClipDraws) -> Tokens:
        return part.kept(drop_token.keep(part.hidden, share, draws.drop))
