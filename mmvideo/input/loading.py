"""One clip from its record to its tokens: decode the view, augment it, cut it into patches, draw its masks."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from mmvideo.input import augment, masking, sampling, tokenise
from mmvideo.input.captions import Captions
from mmvideo.input.config import Input, Masking
from mmvideo.input.draws import Purpose, generator
from mmvideo.input.mixture import Mixture
from mmvideo.input.sizes import MediaSizes, samples


class UnreadableClip(ValueError):
    """A clip that gives no tokens; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Tokens:
    """The tokens of one modality of one clip, in the order of their grid.

    Attributes:
      content: patches `[N, P]` or pieces `[N]`, nothing hidden yet.
      hidden: True where it is hidden from the encoder.
      grid, time: as in `stream.Layout`.
    """

    content: Any
    hidden: Bool[np.ndarray, " N"]
    grid: Int[np.ndarray, "N 3"]
    time: Float[np.ndarray, " N"]


class ClipLoader:
    """Loads clips of a mixture; safe to use from many threads.

    Args:
      mixture: the clips.
      sizes: how many steps each gives.
      captions: their captions as pieces.
      config: how views are made.
      mask: what is hidden.
      train: whether views are drawn and augmented, or taken from the middle.
    """

    def __init__(
        self, mixture: Mixture, sizes: MediaSizes, captions: Captions, config: Input, mask: Masking, train: bool
    ):
        self.mixture, self.sizes, self.captions = mixture, sizes, captions
        self.config, self.mask, self.train = config, mask, train
        self._samples = samples(mixture.seconds, config.audio) if config.audio else np.zeros(len(mixture), np.int64)
        self._flips = self._may_flip()

    def load(self, number: int, caption: int, place: tuple[int, int]) -> tuple[dict[str, Tokens], bool]:
        """The tokens of each modality that the clip has, and whether its file is damaged.

        Where the file holds less than its table said, the last frame is repeated and silence follows.

        Args:
          number: number of the clip in the mixture.
          caption: number of its caption, -1 for none.
          place: epoch and position in it, from which everything is drawn.

        Raises:
          UnreadableClip: the record or its media cannot be read.
        """
        has_video, has_audio = self.sizes.video_steps[number] > 0, self.sizes.audio_steps[number] > 0
        if not (has_video or has_audio):
            return {"text": self._text(caption, generator(self.config.seed, Purpose.MASK, *place))}, False
        view = generator(self.config.seed, Purpose.VIEW, *place) if self.train else None
        stretch = sampling.draw_stretch(
            float(self.mixture.seconds[number]),
            int(self.sizes.video_steps[number]),
            int(self._samples[number]) if has_audio else 0,
            self.config.video if has_video else None,
            self.config.audio if has_audio else None,
            view,
        )
        square = None
        if has_video:
            width, height = int(self.mixture.width[number]), int(self.mixture.height[number])
            square = sampling.draw_square(width, height, self.config.video, view)
        clip = self._decode(number, stretch, square, bool(has_audio))
        change = generator(self.config.seed, Purpose.AUGMENT, *place) if self.train else None
        mask = generator(self.config.seed, Purpose.MASK, *place)
        tokens = {}
        if has_video:
            tokens["video"] = self._video(number, clip.frames, stretch, square, change, mask)
        if has_audio:
            tokens["audio"] = self._audio(number, clip.samples, stretch.samples, change, mask)
        if caption >= 0:
            tokens["text"] = self._text(caption, mask)
        return tokens, clip.truncated

    def _decode(self, number: int, stretch: sampling.Stretch, square: sampling.Square | None, sound: bool) -> Any:
        """The view's frames, scaled, and its samples."""
        from av.error import FFmpegError

        from mmvideo.media.decode import decode

        audio, video = self.config.audio, self.config.video
        try:
            media = self.mixture.record(number).media
        # ArrayRecord raises RuntimeError where a shard is rotten.
        except (RuntimeError, ValueError, OSError) as error:
            raise UnreadableClip(f"its record cannot be read: {' '.join(str(error).split())}") from error
        try:
            clip = decode(
                media,
                start=stretch.start,
                end=stretch.start + stretch.seconds,
                times=stretch.times if square else None,
                size=square.size if square else None,
                kernel=video.kernel if square else "bicubic",
                sample_rate=audio.spectrogram.sample_rate if sound else 16000,
                video=square is not None,
                audio=sound,
            )
        except (ValueError, OSError, FFmpegError) as error:
            raise UnreadableClip(" ".join(str(error).split())) from error
        if square is not None and (clip.frames is None or not len(clip.frames)):
            raise UnreadableClip("its table promises pictures, but none could be decoded")
        return clip

    def _video(
        self,
        number: int,
        frames: UInt8[np.ndarray, "T H W 3"],
        stretch: sampling.Stretch,
        square: sampling.Square,
        change: np.random.Generator | None,
        mask: np.random.Generator,
    ) -> Tokens:
        video, steps = self.config.video, int(self.sizes.video_steps[number])
        (top, left), side = square.corner, video.size
        frames = frames[:, top : top + side, left : left + side]
        missing = len(stretch.times) - len(frames)
        if missing:
            frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
        if change is not None:
            if change.random() < 0.5 and self._flips[number]:
                frames = frames[:, :, ::-1]
            if video.colour:
                frames = augment.jitter_colour(frames, video.colour, change)
        grid, time = tokenise.video_places(steps, video)
        hidden = masking.video_mask(steps, len(grid) // steps, self.mask, mask)
        return Tokens(tokenise.video_patches(frames, video.tubelet), hidden, grid, time)

    def _audio(
        self,
        number: int,
        heard: Float32[np.ndarray, " S"] | None,
        planned: int,
        change: np.random.Generator | None,
        mask: np.random.Generator,
    ) -> Tokens:
        from mmvideo.media.spectrogram import frame_count, spectrogram

        audio, steps = self.config.audio, int(self.sizes.audio_steps[number])
        needed = (steps - 1) * tokenise.audio_stride(audio)[0] + audio.patch[0]
        # Silence follows what is too short: for the plan, or for a patch, or that ends before its picture.
        heard = np.zeros(0, np.float32) if heard is None else heard[:planned]
        short = max(needed - frame_count(planned, audio.spectrogram), 0)
        length = planned + math.ceil(
            (short * audio.spectrogram.hop_seconds + (short > 0) * audio.spectrogram.window_seconds)
            * audio.spectrogram.sample_rate
        )
        rows = spectrogram(np.pad(heard, (0, length - len(heard))), audio.spectrogram)[:needed]
        if change is not None and (audio.time_masks or audio.mel_masks):
            rows = augment.mask_spectrogram(rows, audio, change)
        grid, time = tokenise.audio_places(steps, audio)
        hidden = masking.audio_mask(steps, len(grid) // steps, self.mask, mask)
        return Tokens(tokenise.audio_patches(rows, audio), hidden, grid, time)

    def _text(self, caption: int, mask: np.random.Generator) -> Tokens:
        pieces = self.captions.get(caption)
        grid, time = tokenise.text_places(len(pieces))
        first = int(self.captions.begin)
        hidden = np.zeros(len(pieces), bool)
        hidden[first:-1] = masking.text_mask(len(pieces) - self.captions.marks, self.mask, mask)
        return Tokens(pieces, hidden, grid, time)

    def _may_flip(self) -> Bool[np.ndarray, " n"]:
        """Clips whose left and right may be exchanged: none unless asked for, and none whose words tell sides."""
        if not (self.train and self.config.video is not None and self.config.video.flip):
            return np.zeros(len(self.mixture), bool)
        captions = self.mixture.all_captions()
        numbers = range(len(self.mixture))
        return np.array([not augment.tells_sides([*captions[n], *self.mixture.class_names(n)]) for n in numbers], bool)
