"""Inspection page of a corpus: frames, spectrogram, captions and players of sampled clips, in one HTML file."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path

import numpy as np

from mmvideo.datasets.build import COMPLETE, WORK, build_rows
from mmvideo.datasets.corpus import Corpus, CorpusError, Record, open_corpus
from mmvideo.datasets.inspection_page import Card, render
from mmvideo.datasets.manifests.manifest import class_names, read_classes, read_manifest
from mmvideo.datasets.manifests.surrogates import spelled_out
from mmvideo.datasets.write_shard import Recipe, write_text
from mmvideo.media.config import Spectrogram

STRIP_ASPECT = 8.0
"""Ratio of the width of the strip of frames to its height."""

FRAME_SIDE = 120
"""Length of the shorter side of a frame in the strip, in pixels."""

LARGEST = 4_000_000
"""Largest size in bytes of media in a player; a larger clip is transcoded for the page."""

FAINT = -3.0
"""Log energy of a mel bin up to which a whole clip counts as quiet and is drawn dark."""

PLAYER_SIDE = 240
"""Length of the shorter side of a clip that is transcoded for the page, in pixels."""

PLAYABLE = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg",
    ".wav": "audio/wav", ".mp3": "audio/mpeg", ".flac": "audio/flac", ".ogg": "audio/ogg", ".opus": "audio/ogg",
    ".oga": "audio/ogg", ".m4a": "audio/mp4", ".aac": "audio/aac", ".gif": "image/gif", ".webp": "image/webp",
}  # fmt: skip
"""Media types that browsers play, by suffix."""

_INK = np.array(
    [[15, 14, 31], [52, 31, 92], [120, 41, 120], [190, 61, 104], [240, 118, 82], [253, 192, 119], [253, 246, 208]],
    np.float32,
)


def inspect(path: str | Path, split: str, out_html: str | Path, clips: int = 24, seed: int = 0) -> Path:
    """Write the page.

    Args:
      path: a corpus, as in `corpus.open_corpus`, or a folder of clips or manifest as in `build.build`, of which only
        the displayed clips are then read.
      split: name of the split.
      out_html: output file.
      clips: number of clips, drawn uniformly at random.
      seed: seed of the draw.

    Returns:
      The written file.

    Raises:
      CorpusError: the corpus or the split does not exist.
      ManifestError: the path is neither a corpus nor a source of one.
      ValueError: `clips` is not positive.
    """
    if clips < 1:
        raise ValueError(f"clips must be at least 1, not {clips}")
    if _is_source(path):
        return _write(out_html, _source_page(Path(path).expanduser().absolute(), split, clips, seed))
    corpus = open_corpus(path, split)
    return _write(out_html, render(corpus, _cards(corpus, clips, seed)))


def _is_source(path: str | Path) -> bool:
    """Return whether the path is a source of a corpus, and not a corpus or an unfinished one."""
    path = Path(path).expanduser()
    return path.is_file() or (path.is_dir() and not any((path / name).exists() for name in (COMPLETE, WORK)))


def _source_page(path: Path, split: str, clips: int, seed: int) -> str:
    """Return the page of clips that are not built yet; the displayed ones are built for it."""
    folder = path if path.is_dir() else path.parent
    rows = read_manifest(path)
    classes, there = class_names(rows, read_classes(folder)), list(dict.fromkeys(row.split for row in rows))
    own = [row for row in rows if row.split == split]
    if not own:
        raise CorpusError(f"{path}: has no split '{split}'; it has {', '.join(there)}")
    drawn = [own[place] for place in np.random.default_rng(seed).permutation(len(own))[:clips]]
    with tempfile.TemporaryDirectory() as made:
        summary = build_rows(
            drawn,
            folder,
            Path(made) / "corpus",
            classes=classes,
            licences={},
            name=folder.name,
            recipe=Recipe(),
            processes=1,
            shard_clips=len(drawn),
            tokenizer_vocabulary=None,
            progress=False,
        )
        where = f"{spelled_out(str(path))}, not built yet; figures are those of the {summary.clips} clips below."
        if summary.skipped:
            where += " Can't be read: " + "; ".join(f"{clip}: {reason}" for clip, reason in summary.skipped)
        corpus = open_corpus(Path(made) / "corpus", split)
        return render(corpus, _cards(corpus, clips, seed), where, len(own))


def _cards(corpus: Corpus, clips: int, seed: int) -> list[Card]:
    rows = np.random.default_rng(seed).permutation(len(corpus))[:clips]
    return [make_card(corpus, int(row)) for row in rows]


def _write(out_html: str | Path, page: str) -> Path:
    out = Path(out_html).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, page)
    return out


def make_card(corpus: Corpus, row: int) -> Card:
    """Return the card of a clip; for an undecodable one, with the reason."""
    record = corpus[row]
    labels = _labels(corpus, row)
    try:
        frames = _frames(record.media, corpus, row)
        spectrogram, sounding = _sound(record.media, corpus, row)
        player = _player(record)
    except (ValueError, OSError) as error:
        return Card(record, row, labels, [], None, 0.0, None, str(error))
    return Card(record, row, labels, frames, spectrogram, sounding, player, "")


def _labels(corpus: Corpus, row: int) -> dict[str, str]:
    """Return the text of each known label."""
    table = corpus.table
    labels = {kind: corpus.classes[kind][own[row]] for kind, own in table.labels.items() if own[row] >= 0}
    for kind, numbers in table.several.items():
        if numbers[row] is not None:
            labels[kind] = ", ".join(corpus.classes[kind][number] for number in numbers[row]) or "none"
    return labels | {kind: f"{own[row]:g}" for kind, own in table.numbers.items() if not np.isnan(own[row])}


def _frames(media: bytes, corpus: Corpus, row: int) -> list[str]:
    from PIL import Image

    from mmvideo.media.decode import decode

    table = corpus.table
    if not table.has_video[row]:
        return []
    # Frames of 16:9: 8 * 9 / 16 = 4.5, so 4 fill the strip.
    count = int(np.clip(round(STRIP_ASPECT * table.height[row] / table.width[row]), 3, 14))
    times = (np.arange(count) + 0.5) * table.seconds[row] / count
    addresses = []
    clip = decode(media, times=times.tolist(), short_side=FRAME_SIDE, audio=False, **corpus.pictures)
    for pixels in clip.frames:
        addresses.append(_picture(Image.fromarray(pixels), "JPEG", quality=80))
    return addresses


def _sound(media: bytes, corpus: Corpus, row: int) -> tuple[str | None, float]:
    """Return the spectrogram as an image, low frequencies at the bottom, and the share of the clip that it covers."""
    from PIL import Image

    from mmvideo.media.decode import decode
    from mmvideo.media.spectrogram import spectrogram

    if not corpus.table.has_audio[row]:
        return None, 0.0
    config = Spectrogram(mean=0.0, deviation=1.0)
    samples = decode(media, video=False, sample_rate=config.sample_rate).samples
    if samples is None or len(samples) < config.sample_rate * config.window_seconds:
        return None, 0.0
    energies = np.asarray(spectrogram(samples.astype(np.float32), config))
    # 70 dB below the loudest is dark: enough to see decay, too little to see the codec's noise.
    top = max(float(energies.max()), FAINT)
    shade = np.clip(1.0 - (top - energies) / (7.0 * np.log(10.0)), 0.0, 1.0)
    if len(shade) > 1200:
        # More columns than pixels only enlarge the page.
        shade = shade[np.linspace(0, len(shade) - 1, 1200).astype(int)]
    image = Image.fromarray(_colour(shade.T[::-1]))
    sounding = len(samples) / config.sample_rate / max(float(corpus.table.seconds[row]), 1e-6)
    return _picture(image, "PNG"), min(1.0, sounding)


def _colour(shade: np.ndarray) -> np.ndarray:
    """Return shades from 0 to 1 as colours, uint8 `[H W 3]`."""
    places = np.linspace(0.0, 1.0, len(_INK))
    return np.stack([np.interp(shade, places, _INK[:, channel]) for channel in range(3)], -1).round().astype(np.uint8)


def _player(record: Record) -> str | None:
    """Return the media in a form that browsers play, transcoded if it is of another type or large."""
    media, kind = record.media, PLAYABLE.get(record.suffix)
    if kind is None or (len(media) > LARGEST and kind.startswith("video")):
        from mmvideo.media.transcode import transcode

        media, kind = transcode(media, short_side=PLAYER_SIDE, **record.pictures), "video/mp4"
    return None if len(media) > LARGEST else _address(media, kind)


def _picture(image, kind: str, **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return _address(buffer.getvalue(), f"image/{kind.lower()}")


def _address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
