"""A folder of six small clips with a manifest: four with picture and sound, one without sound, one without picture."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

# For the bad clips.
sys.path.insert(0, str(Path(__file__).parent))

FPS = 8.0
FRAMES = 8
RATE = 16000


def picture(first: int = 0) -> np.ndarray:
    """A second of plain frames, frame `n` of brightness `16 + 24 (first + n)`."""
    frames = np.zeros((FRAMES, 32, 48, 3), np.uint8)
    frames[:] = (16 + 24 * (first + np.arange(FRAMES, dtype=np.uint8)))[:, None, None, None]
    return frames


def tone(hertz: float) -> np.ndarray:
    """A second of a sine."""
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)).astype(np.float32)


def write_manifest(folder: Path, rows: list[dict]) -> Path:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Path:
    from mmvideo.media.encode import encode

    folder = tmp_path_factory.mktemp("clips")
    (folder / "media").mkdir()
    rows = []
    for number in range(6):
        frames, samples = picture(), tone(300 + 100 * number)
        if number == 2:
            samples = None
        if number == 5:
            frames = None
        encode(folder / "media" / f"{number}.mp4", frames, FPS, samples=samples, gop=4)
        rows.append(
            {
                "id": f"clip{number}",
                "media": f"media/{number}.mp4",
                "captions": [f"a tone of {300 + 100 * number} hertz", "it gets <brighter> & “brighter”"][: number % 3],
                "labels": {"pitch": ["low", "high"][number % 2]} if number != 1 else {},
                "split": "test" if number == 3 else "train",
                "tags": ["tone"],
                "attributes": {"number": number},
                "source": "made",
            }
        )
    return write_manifest(folder, rows)
