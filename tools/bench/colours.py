"""Compare colours before and after transcoding, over matrices, ranges and pixel formats; time exact chroma.

COMMAND  python tools/bench/colours.py [--json FILE]
COST     1 core, 1 minute

Eight colours are coded losslessly (FFV1) by the formulas of ITU-T H.273, not by swscale. The table has the largest
difference, in levels of 255, of RGB decoded from the file against the coded colour, and of RGB decoded from the
transcoded file (x264, crf 6) against RGB decoded from the file. Below it: the processor time of mmvideo's conversion
from 4:2:0 to an RGB array, with full-resolution chroma and exact rounding, relative to swscale's default, in turn.

Exit code 1 if a colour differs by more than 3 levels.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from mmvideo.media.decode import decode
from mmvideo.media.frames.frame_converter import FrameConverter
from mmvideo.media.transcode import transcode

COLOURS = np.array(
    [(30, 180, 70), (200, 40, 60), (40, 60, 210), (128, 128, 128), (230, 220, 40), (10, 10, 10), (250, 250, 250),
     (160, 90, 120)]
)  # fmt: skip
"""Colours in the file, left to right, each 16 pixels wide."""

MATRICES = {"bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 6, "smpte240m": 7, "ycgco": 8, "bt2020nc": 9}
"""Code points of the matrices."""

WEIGHTS = {
    1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)
}  # fmt: skip
"""Weights of red and blue in the luma of a matrix (H.273, table 4)."""

HEIGHT, WIDTH, PATCH = 64, 128, 16


def codes(matrix: int, full: bool, bits: int) -> list[np.ndarray]:
    """Return luma and both chromas of each colour, `[8]`, in code values of this many bits."""
    red, green, blue = (COLOURS / 255).T
    if matrix == MATRICES["ycgco"]:
        parts = [(red + 2 * green + blue) / 4, (2 * green - red - blue) / 4, (red - blue) / 2]
    else:
        of_red, of_blue = WEIGHTS[matrix]
        luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
        parts = [luma, (blue - luma) / 2 / (1 - of_blue), (red - luma) / 2 / (1 - of_red)]
    step, top = 2 ** (bits - 8), 2**bits - 1
    chroma = 219 if matrix == MATRICES["ycgco"] else 224
    if full:
        coded = [parts[0] * top, parts[1] * top + 128 * step, parts[2] * top + 128 * step]
    else:
        coded = [(219 * parts[0] + 16) * step, *((chroma * part + 128) * step for part in parts[1:])]
    return [np.rint(values).clip(0, top) for values in coded]


def write_colours(path: Path, matrix: int, full: bool, pixels: str, codec: str = "ffv1", **tags: int) -> Path:
    """Write four frames of the colours; `tags` set more attributes of the codec context."""
    import av

    bits = 10 if "10" in pixels else 8
    kind = np.uint8 if bits == 8 else np.uint16
    planes = [np.tile(np.repeat(values, PATCH)[None], (HEIGHT, 1)).astype(kind) for values in codes(matrix, full, bits)]
    if "420" in pixels:
        planes[1:] = [plane[::2, ::2] for plane in planes[1:]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        if codec == "libx264":
            stream.options = {"crf": "2"}
        tags = {"colorspace": matrix, "color_range": 2 if full else 1, "color_primaries": 1, "color_trc": 1} | tags
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number in range(4):
            frame = filled(planes, pixels)
            frame.pts, frame.time_base = number, Fraction(1, 10)
            frame.colorspace, frame.color_range = tags["colorspace"], tags["color_range"]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def filled(planes: list[np.ndarray], pixels: str):
    """Return a frame with the given planes, `[H, W]` each."""
    import av

    frame = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], pixels)
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        raw = np.ascontiguousarray(values).view(np.uint8)
        rows[:, : raw.shape[1]] = raw
        plane.update(rows)
    return frame


def seen(frames: np.ndarray) -> np.ndarray:
    """Return the colours of frames `[T, H, W, 3]`: the mean of the middle of each patch in frame 0, `[8, 3]`."""
    height, width = frames.shape[1:3]
    patch = width // len(COLOURS)
    middle = frames[0, height // 4 : -height // 4].reshape(-1, len(COLOURS), patch, 3)
    return middle[:, :, patch // 3 : -patch // 3].astype(float).mean(axis=(0, 2))


PIXELS = ("yuv420p", "yuv420p10le", "yuv444p")

MOST = 3.0
"""Largest allowed difference in levels of 255: rounding of luma and chroma to 8 bits, and the codec."""


def compare(folder: Path) -> list[dict]:
    """Return the largest colour difference for each matrix, range and format: coded to decoded, before to after."""
    rows = []
    for pixels in PIXELS:
        for full in (False, True):
            for name, matrix in MATRICES.items():
                path = write_colours(folder / "colours.mkv", matrix, full, pixels)
                before, after = seen(decode(path).frames), seen(decode(transcode(path, gop=2, crf=6)).frames)
                decoded, transcoded = float(np.abs(before - COLOURS).max()), float(np.abs(after - before).max())
                rows.append(
                    {"pixels": pixels, "range": "full" if full else "limited", "matrix": name,
                     "coded_to_decoded": round(decoded, 2), "before_to_after": round(transcoded, 2)}
                )  # fmt: skip
    return rows


def chroma_cost(size: tuple[int, int], target: tuple[int, int], turns: int = 60) -> float:
    """Return the processor time of 4:2:0 to RGB relative to swscale's default: the median of pairs."""
    from av.video.reformatter import Interpolation, VideoReformatter

    draw = np.random.default_rng(0)
    half = (size[0] // 2, size[1] // 2)
    frame = filled([draw.integers(16, 235, shape).astype(np.uint8) for shape in (size, half, half)], "yuv420p")
    tool, painter = VideoReformatter(), FrameConverter(None, target, "bicubic")

    def plain() -> None:
        tool.reformat(frame, target[1], target[0], "rgb24", interpolation=Interpolation.BICUBIC, threads=1).to_ndarray()

    taken: list[list[float]] = [[], []]
    for turn in range(turns + 2):
        for place, convert in enumerate((plain, lambda: painter.stack([painter.paint(frame)]))):
            start = time.process_time()
            for _ in range(10):
                convert()
            if turn > 1:
                taken[place].append(time.process_time() - start)
    return statistics.median(exact / plain for plain, exact in zip(*taken, strict=True))


def main() -> int:
    """Print the table and the costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(Path(folder))
    print(f"| {'matrix':9} | " + " | ".join(f"{p}, {r}" for p in PIXELS for r in ("limited", "full")) + " |")
    print("|" + "---|" * (1 + 2 * len(PIXELS)))
    for name in MATRICES:
        cells = [f"{r['coded_to_decoded']:.1f} / {r['before_to_after']:.1f}" for r in rows if r["matrix"] == name]
        print(f"| {name:9} | " + " | ".join(cells) + " |")
    worst = {part: max(row[part] for row in rows) for part in ("coded_to_decoded", "before_to_after")}
    print(f"largest: coded to decoded {worst['coded_to_decoded']}, before to after {worst['before_to_after']}")
    costs = {}
    for size, target in (((240, 426), (240, 426)), ((720, 1280), (224, 398)), ((240, 426), (224, 398))):
        words = f"{size[1]}x{size[0]} to {target[1]}x{target[0]}"
        costs[words] = round(chroma_cost(size, target), 2)
        print(f"full chroma and exact rounding, {words}: {costs[words]:.2f} x the processor time")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "largest": worst, "cost": costs}, indent=1) + "\n")
    return 1 if max(worst.values()) > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
