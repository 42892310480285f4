"""Reader of one view of a clip: decoded, cropped and augmented video and audio, before they become tokens."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jax.profiler import TraceAnnotation
from jaxtyping import Bool, Float32, UInt8

from mmvideo.input.clip_cache import ClipCache, decoded_bytes, lasting
from mmvideo.input.config import Input, Views
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.planning.token_counts import TokenCounts, samples
from mmvideo.input.rng import ClipRngs
from mmvideo.input.transforms import audio_shift, augment, crops
from mmvideo.input.transforms.randaugment import rand_augment


class UnreadableClip(ValueError):
    """A clip that gives no tokens; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class DecodedView:
    """Decoded video and audio of a view.

    Attributes:
      stretch: stretch of time in the clip.
      frames: square frames of `video.size` pixels, one for each time of the stretch; None if video is not shown.
      audio: at most as many samples as the stretch has; None if audio is not shown or the clip has none.
      truncated: whether the file ends early, or a part of it could not be decoded.
    """

    stretch: crops.TemporalWindow
    frames: UInt8[np.ndarray, "T H W 3"] | None
    audio: Float32[np.ndarray, " S"] | None
    truncated: bool


class ViewReader:
    """Reader of views of the clips of a mixture; safe to use from many threads.

    Args:
      mixture: the clips.
      sizes: steps and tokens of each clip.
      config: settings of the views.
      train: whether views are drawn and augmented, or are those of an evaluation.
      views: views of an evaluation.
    """

    def __init__(self, mixture: CorpusMixture, sizes: TokenCounts, config: Input, train: bool, views: Views):
        self.mixture, self.sizes, self.config, self.train, self.views = mixture, sizes, config, train, views
        self._samples = samples(mixture.seconds, config.audio) if config.audio else np.zeros(len(mixture), np.int64)
        self._sided = self._tell_sides()
        self._lasting = lasting(mixture, sizes, config) if train and config.memory else np.zeros(len(mixture), bool)
        self._decoded = decoded_bytes(mixture, sizes, config, self._lasting)
        self._cache = ClipCache(config.memory) if 0 < self._decoded <= config.memory else None

    def read(
        self,
        number: int,
        shown: tuple[bool, bool],
        draws: ClipRngs,
        *,
        aligned: bool = True,
        view: int = 0,
        fitted: crops.TemporalWindow | None = None,
    ) -> DecodedView:
        """Return a view of a clip. It does not depend on the shown modalities: its stretch is that of all that the clip
        has.

        Args:
          number: the clip.
          shown: whether video and audio are needed.
          draws: generators of the clip.
          aligned: False shifts the audio against the video.
          view: index of the view in an evaluation.
          fitted: view of another clip, which limits the length of this one.

        Raises:
          UnreadableClip: the record or its media cannot be read.
        """
        video, audio = self.config.video, self.config.audio
        stretch = self.stretch(number, draws, view, fitted)
        square = None
        if shown[0]:
            width, height = int(self.mixture.width[number]), int(self.mixture.height[number])
            square = crops.sample_crop(width, height, video, draws.view, self.views, view)
        shift = None
        if shown[1]:
            # Aligned audio: the view may start at 3 s and, with uniform sampling, its audio later in it.
            shift = audio_shift.Shift(stretch.start + stretch.heard)
            if not aligned:
                shift = audio_shift.sample_shift(float(self.mixture.seconds[number]), stretch, audio, draws.shift)
        clip = self._clip(number, stretch, square, shift)
        frames, heard = None, clip.samples if shown[1] else None
        if shown[0]:
            frames = self._pictures(number, clip.frames, stretch, square, draws)
        if heard is not None:
            heard = self._sound(heard, stretch, shift, frames is None, draws)
        return DecodedView(stretch, frames, heard, clip.truncated)

    def stretch(
        self, number: int, draws: ClipRngs, view: int, fitted: crops.TemporalWindow | None = None
    ) -> crops.TemporalWindow:
        """Return the stretch of time of a view; see `read`, which calls it with its own draws."""
        steps = int(self.sizes.video_steps[number])
        heard = int(self._samples[number]) if self.sizes.audio_steps[number] else 0
        video, audio = self.config.video if steps else None, self.config.audio if heard else None
        if fitted is not None:
            steps = min(steps, len(fitted.times) // video.tubelet[0]) if video else 0
            heard = min(heard, fitted.samples)
        seconds = float(self.mixture.seconds[number])
        return crops.sample_window(
            seconds, steps, heard, video if steps else None, audio if heard else None, draws.view, self.views, view
        )

    @property
    def remembered(self) -> str | None:
        """Log line on the clips that are decoded once and kept in memory; None if there are none."""
        if self._cache is None:
            return None
        return (
            f"keeping up to {self._lasting.sum():,} of {len(self.mixture):,} clips decoded in memory "
            f"({self._decoded / 2**20:,.0f} MiB of input.memory's {self.config.memory / 2**20:,.0f})"
        )

    def _clip(
        self,
        number: int,
        stretch: crops.TemporalWindow,
        square: crops.SpatialCrop | None,
        shift: audio_shift.Shift | None,
    ) -> Any:
        """Return the view of `_decode`, decoded once if it is the same in every epoch."""
        with TraceAnnotation("decode"):
            # A view fitted to a shorter clip may be shorter than its own clip, and then it has a random start.
            if self._cache is None or stretch.seconds < self.mixture.seconds[number]:
                return self._decode(number, stretch, square, shift)
            # Modalities and sizes differ between calls: a view decoded for audio alone lacks the frames.
            asked = (len(stretch.times), stretch.samples, square and square.size, shift and shift.start)
            clip = self._cache.get((number, *asked))
            if clip is None:
                clip = self._decode(number, stretch, square, shift)
                self._cache.put((number, *asked), clip)
            return clip

    def _decode(
        self,
        number: int,
        stretch: crops.TemporalWindow,
        square: crops.SpatialCrop | None,
        shift: audio_shift.Shift | None,
    ) -> Any:
        """Return the view's scaled frames and its samples, which start where `shift` says; None leaves out the
        audio."""
        from av.error import FFmpegError

        from mmvideo.media.decode import decode

        try:
            with TraceAnnotation("record"):
                record = self.mixture.record(number)
        # ArrayRecord raises RuntimeError for a damaged shard.
        except (RuntimeError, ValueError, OSError) as error:
            raise UnreadableClip(f"its record cannot be read: {' '.join(str(error).split())}") from error
        # Audio that starts with the video is decoded in the same pass; other audio needs a second pass over the file.
        together = shift is not None and shift.start == stretch.start
        rate = self.config.audio.hertz if shift is not None else 16000
        # With uniform sampling the view is the whole clip, but only the planned samples of audio are needed.
        lasting = stretch.samples / rate if stretch.heard else stretch.seconds
        try:
            if square is None:
                return _hear(record.media, shift.start, lasting, rate)
            clip = decode(
                record.media,
                start=stretch.start,
                end=stretch.start + stretch.seconds,
                times=stretch.times,
                size=square.size,
                kernel=self.config.video.kernel,
                sample_rate=rate,
                audio=together,
                **record.pictures,
            )
            if shift is not None and not together:
                heard = _hear(record.media, shift.start, lasting, rate)
                clip = dataclasses.replace(clip, samples=heard.samples, damage=clip.damage or heard.damage)
        except (ValueError, OSError, FFmpegError) as error:
            raise UnreadableClip(" ".join(str(error).split())) from error
        if clip.frames is None or not len(clip.frames):
            raise UnreadableClip("its table promises pictures, but none could be decoded")
        return clip

    def _pictures(
        self,
        number: int,
        frames: UInt8[np.ndarray, "T H W 3"],
        stretch: crops.TemporalWindow,
        square: crops.SpatialCrop,
        draws: ClipRngs,
    ) -> UInt8[np.ndarray, "_ _ _ 3"]:
        """Return the crop of every frame, with the last frame repeated if the file has fewer; augmented in training."""
        video, rng = self.config.video, draws.change
        (top, left), side = square.corner, video.size
        frames = pad_frames(frames[:, top : top + side, left : left + side], len(stretch.times))
        if rng is None:
            return frames
        sided = bool(self._sided[number])
        if rng.random() < 0.5 and video.flip and not sided:
            frames = frames[:, :, ::-1]
        if video.colour:
            frames = augment.jitter_colour(frames, video.colour, rng)
        if video.rand_augment is not None:
            frames = rand_augment(frames, video.rand_augment, sided, rng)
        if video.erase and rng.random() < video.erase:
            frames = augment.erase_rectangle(frames, rng)
        return frames

    def _sound(
        self,
        heard: Float32[np.ndarray, " S"],
        stretch: crops.TemporalWindow,
        shift: audio_shift.Shift,
        alone: bool,
        draws: ClipRngs,
    ) -> Float32[np.ndarray, " _"]:
        """Return the samples of the view, padded with silence if the audio is rolled."""
        # Decoders may return a block more than requested.
        heard = heard[: stretch.samples]
        if shift.roll:
            heard = np.roll(_pad_audio(heard, stretch.samples), shift.roll)
        if draws.change is not None and self.config.audio.roll:
            heard = augment.roll_audio(_pad_audio(heard, stretch.samples), alone, draws.change)
        return heard

    def _tell_sides(self) -> Bool[np.ndarray, " n"]:
        """Return a mask of the clips whose captions or classes mention sides, if that limits their augmentation."""
        video, mixture = self.config.video, self.mixture
        if not self.train or video is None or not (video.flip or video.rand_augment is not None):
            return np.zeros(len(mixture), bool)
        captions = mixture.all_captions()
        numbers = range(len(mixture))
        return np.array([augment.mentions_left_right([*captions[n], *mixture.class_names(n)]) for n in numbers], bool)


def pad_frames(frames: UInt8[np.ndarray, "T H W 3"], length: int) -> UInt8[np.ndarray, "_ H W 3"]:
    """Return `length` frames, with the last one repeated if there are fewer."""
    missing = length - len(frames)
    return np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)]) if missing > 0 else frames[:length]


def _pad_audio(heard: Float32[np.ndarray, " S"], length: int) -> Float32[np.ndarray, " _"]:
    """Return `length` samples, padded with silence if there are fewer."""
    return np.pad(heard, (0, length - len(heard)))


def _hear(media: bytes, start: float, seconds: float, rate: int) -> Any:
    """Return the audio of a stretch of time, without the video.

    Raises:
      MediaError: the file cannot be opened, or none of its audio can be decoded.
    """
    from mmvideo.media.decode import MediaError, decode

    try:
        return decode(media, start=start, end=start + seconds, sample_rate=rate, video=False)
    except MediaError:
        if start == 0:
            raise
    # The audio may end before the video: the stretch is then silent. Decode from the start to tell this from audio that
    # cannot be read at all, which raises.
    return dataclasses.replace(decode(media, sample_rate=rate, video=False), samples=None)
