"""One clip from its record to its tokens: decode the view, augment it, cut it into patches, draw its masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from mmvideo.input import alignment, augment, decoding, dropping, masking, sampling, sound, tokenise
from mmvideo.input.captions import Captions
from mmvideo.input.config import Drop, Input, Masking
from mmvideo.input.draws import Purpose, generator
from mmvideo.input.mixture import Mixture
from mmvideo.input.picks import Picks
from mmvideo.input.sizes import Sizes, samples


class UnreadableClip(ValueError):
    """A clip that gives no tokens; the message is the reason."""


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
class _Draws:
    """The generators of one clip; None where nothing is drawn, in evaluation."""

    view: np.random.Generator | None
    change: np.random.Generator | None
    mask: np.random.Generator
    drop: np.random.Generator
    shift: np.random.Generator


class ClipLoader:
    """Loads clips of a mixture; safe to use from many threads.

    Args:
      mixture: the clips.
      sizes: how many steps each gives.
      captions: their captions as pieces.
      config: how views are made.
      mask: what is hidden.
      drop: what is dropped.
      train: whether views are drawn and augmented, or taken from the middle.
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
    ):
        self.mixture, self.sizes, self.captions = mixture, sizes, captions
        self.config, self.mask, self.drop, self.train = config, mask, drop, train
        self._samples = samples(mixture.seconds, config.audio) if config.audio else np.zeros(len(mixture), np.int64)
        self._flips = self._may_flip()

    def load(self, picks: Picks, slot: int, place: tuple[int, int]) -> tuple[dict[str, Tokens], bool]:
        """The tokens of each modality that one of the picked clips shows, and whether its file is damaged.

        Where the file holds less than its table said, the last frame is repeated and silence follows.

        Args:
          picks: clips, and what is shown of them.
          slot: which of them.
          place: epoch and position in it, from which everything is drawn.

        Raises:
          UnreadableClip: the record or its media cannot be read.
        """
        number, draws = int(picks.clip[slot]), self._draws(place)
        has_video, has_audio, has_text = picks.present[slot].tolist()
        tokens, damaged = {}, False
        if has_video or has_audio:
            tokens, damaged = self._media(number, has_video, has_audio, bool(picks.aligned[slot]), draws)
        if has_text:
            tokens["text"] = self._text(picks.caption[slot], draws)
        return tokens, damaged

    def stretch(self, number: int, place: tuple[int, int]) -> sampling.Stretch:
        """The stretch of time of the view that `load` takes of a clip at this place."""
        return self._stretch(number, self._draws(place).view)

    def _draws(self, place: tuple[int, int]) -> _Draws:
        seed, train = self.config.seed, self.train
        view = generator(seed, Purpose.VIEW, *place) if train else None
        change = generator(seed, Purpose.AUGMENT, *place) if train else None
        return _Draws(view, change, *(generator(seed, p, *place) for p in (Purpose.MASK, Purpose.DROP, Purpose.SHIFT)))

    def _media(
        self, number: int, has_video: bool, has_audio: bool, aligned: bool, draws: _Draws
    ) -> tuple[dict[str, Tokens], bool]:
        """The tokens of the pictures and of the sound that are shown.

        The view is the same whichever are: that of all that the clip has.
        """
        seconds, stretch = float(self.mixture.seconds[number]), self._stretch(number, draws.view)
        square = None
        if has_video:
            width, height = int(self.mixture.width[number]), int(self.mixture.height[number])
            square = sampling.draw_square(width, height, self.config.video, draws.view)
        shift = alignment.Shift(stretch.start)
        if not aligned:
            shift = alignment.draw_shift(seconds, stretch, self.config.audio, draws.shift)
        clip = self._decode(number, stretch, square, shift if has_audio else None)
        tokens = {}
        if has_video:
            tokens["video"] = self._video(number, clip.frames, stretch, square, draws)
        if has_audio:
            tokens["audio"] = self._audio(number, clip.samples, stretch.samples, shift.turn, draws)
        return tokens, clip.truncated

    def _stretch(self, number: int, rng: np.random.Generator | None) -> sampling.Stretch:
        seconds, steps = float(self.mixture.seconds[number]), int(self.sizes.video_steps[number])
        heard = int(self._samples[number]) if self.sizes.audio_steps[number] else 0
        video, audio = self.config.video if steps else None, self.config.audio if heard else None
        return sampling.draw_stretch(seconds, steps, heard, video, audio, rng)

    def _decode(
        self, number: int, stretch: sampling.Stretch, square: sampling.Square | None, shift: alignment.Shift | None
    ) -> Any:
        """The view's frames, scaled, and its samples, from where `shift` says; None leaves out the sound."""
        from av.error import FFmpegError

        from mmvideo.media.decode import decode

        try:
            media = self.mixture.record(number).media
        # ArrayRecord raises RuntimeError where a shard is rotten.
        except (RuntimeError, ValueError, OSError) as error:
            raise UnreadableClip(f"its record cannot be read: {' '.join(str(error).split())}") from error
        together = shift is not None and shift.start == stretch.start
        rate = self.config.audio.hertz if shift is not None else 16000
        try:
            if square is None:
                return _hear(media, shift.start, stretch.seconds, rate)
            clip = decode(
                media,
                start=stretch.start,
                end=stretch.start + stretch.seconds,
                times=stretch.times,
                size=square.size,
                kernel=self.config.video.kernel,
                sample_rate=rate,
                audio=together,
            )
            if shift is not None and not together:
                heard = _hear(media, shift.start, stretch.seconds, rate)
                clip = dataclasses.replace(clip, samples=heard.samples, truncated=clip.truncated or heard.truncated)
        except (ValueError, OSError, FFmpegError) as error:
            raise UnreadableClip(" ".join(str(error).split())) from error
        if clip.frames is None or not len(clip.frames):
            raise UnreadableClip("its table promises pictures, but none could be decoded")
        return clip

    def _video(
        self,
        number: int,
        frames: UInt8[np.ndarray, "T H W 3"],
        stretch: sampling.Stretch,
        square: sampling.Square,
        draws: _Draws,
    ) -> Tokens:
        video, steps = self.config.video, int(self.sizes.video_steps[number])
        (top, left), side = square.corner, video.size
        frames = frames[:, top : top + side, left : left + side]
        missing = len(stretch.times) - len(frames)
        if missing:
            frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        if draws.change is not None:
            if draws.change.random() < 0.5 and self._flips[number]:
                frames = frames[:, :, ::-1]
            if video.colour:
                frames = augment.jitter_colour(frames, video.colour, draws.change)
        grid, time = tokenise.video_places(steps, video)
        cells = tokenise.video_spec(video).grid[1:]
        hidden = masking.video_mask(steps, cells, self.mask, draws.mask)
        seen = ~hidden | decoding.predicted(hidden, steps, cells, self.mask, draws.mask)
        part = Tokens(tokenise.video_patches(frames, video.tubelet), hidden, grid, time)
        return self._dropped(part.kept(seen), self.drop.video, draws)

    def _audio(
        self, number: int, heard: Float32[np.ndarray, " S"] | None, planned: int, turn: int, draws: _Draws
    ) -> Tokens:
        audio, steps = self.config.audio, int(self.sizes.audio_steps[number])
        if turn and heard is not None:
            heard = np.roll(np.pad(heard[:planned], (0, max(planned - len(heard), 0))), turn)
        rows = sound.heard_rows(heard, planned, steps, audio)
        if draws.change is not None and (audio.time_masks or audio.mel_masks):
            rows = augment.mask_spectrogram(rows, audio, draws.change)
        grid, time = tokenise.audio_places(steps, audio)
        hidden = masking.audio_mask(steps, len(grid) // steps, self.mask, draws.mask)
        return self._dropped(Tokens(tokenise.audio_patches(rows, audio), hidden, grid, time), self.drop.audio, draws)

    def _text(self, captions: Int[np.ndarray, " k"], draws: _Draws) -> Tokens:
        """The captions one behind the other, each with its marks."""
        parts = [self._caption(int(one), place, draws) for place, one in enumerate(captions[captions >= 0])]
        names = ("content", "hidden", "grid", "time")
        return Tokens(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _caption(self, number: int, place: int, draws: _Draws) -> Tokens:
        """One caption, in its place among those of its clip."""
        pieces = self.captions.get(number)
        grid, time = tokenise.text_places(len(pieces), place)
        words = slice(int(self.captions.begin), len(pieces) - 1)
        hidden, keep = np.zeros(len(pieces), bool), np.ones(len(pieces), bool)
        hidden[words] = masking.text_mask(len(pieces) - self.captions.marks, self.mask, draws.mask)
        keep[words] = dropping.keep(hidden[words], self.drop.text, draws.drop)
        return Tokens(pieces, hidden, grid, time).kept(keep)

    def _dropped(self, part: Tokens, share: float, draws: _Draws) -> Tokens:
        return part.kept(dropping.keep(part.hidden, share, draws.drop))

    def _may_flip(self) -> Bool[np.ndarray, " n"]:
        """Clips whose left and right may be exchanged: none unless asked for, and none whose words tell sides."""
        if not (self.train and self.config.video is not None and self.config.video.flip):
            return np.zeros(len(self.mixture), bool)
        captions = self.mixture.all_captions()
        numbers = range(len(self.mixture))
        return np.array([not augment.tells_sides([*captions[n], *self.mixture.class_names(n)]) for n in numbers], bool)


def _hear(media: bytes, start: float, seconds: float, rate: int) -> Any:
    """The sound of a stretch, without the pictures.

    Raises:
      MediaError: the file cannot be opened, or no sound of it decoded.
    """
    from mmvideo.media.decode import MediaError, decode

    try:
        return decode(media, start=start, end=start + seconds, sample_rate=rate, video=False)
    except MediaError:
        if start == 0:
            raise
    # Where a sound ends before its picture nothing is heard; one that cannot be read at all is told.
    return dataclasses.replace(decode(media, sample_rate=rate, video=False), samples=None)
