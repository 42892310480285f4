"""Reader of animated WebP, by Pillow, because FFmpeg cannot decode it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from mmvideo.media.config import LIMITS, Limits
from mmvideo.media.containers.container import MediaError, MediaInfo, MediaSource, check_limits, source_name

DEFAULT_SECONDS = 0.1
"""Duration of a frame without one, as in browsers."""


def webp_frames(source: MediaSource, limits: Limits = LIMITS) -> Iterator[tuple[float, float, Any]]:
    """Yield time and duration in seconds, and image (a PyAV frame, on white where it is transparent), of each frame.

    Raises:
      MediaError: Pillow is not installed, or the file cannot be read.
    """
    import av
    import numpy as np

    image = _open(source)
    check_limits(image.width, image.height, None, limits, source_name(source))
    time = 0.0
    for number in range(getattr(image, "n_frames", 1)):
        try:
            image.seek(number)
            picture = image.convert("RGBA")
        except (OSError, EOFError, ValueError) as error:
            if number == 0:
                raise MediaError(f"{source_name(source)}: cannot be decoded as WebP ({error})") from None
            return
        # Pillow gives milliseconds; 0 or nothing means the default.
        seconds = (image.info.get("duration") or 0) / 1000 or DEFAULT_SECONDS
        yield time, seconds, av.VideoFrame.from_ndarray(np.asarray(_on_white(picture)), format="rgb24")
        time += seconds


def _on_white(picture: Any) -> Any:
    from PIL import Image

    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture)
    return page.convert("RGB")


def _open(source: MediaSource) -> Any:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        name = source_name(source)
        raise MediaError(f"{name}: WebP needs Pillow; install it with `pip install pillow`") from None
    try:
        return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (OSError, UnidentifiedImageError) as error:
        raise MediaError(f"{source_name(source)}: cannot be opened as WebP ({error})") from None


def probe_webp(source: MediaSource, limits: Limits = LIMITS) -> MediaInfo:
    """Return the contents of a WebP file; its frames are decoded, because only they have durations."""
    frames, seconds, width, height = 0, 0.0, 0, 0
    for time, duration, picture in webp_frames(source, limits):
        frames, seconds, width, height = frames + 1, time + duration, picture.width, picture.height
    return MediaInfo(
        seconds=seconds, has_video=True, has_audio=False, width=width, height=height, fps=frames / seconds,
        frames=frames, sample_rate=0, channels=0, rotation=0, container="webp",
    )  # fmt: skip
