"""Line charts as small multiples, drawn as SVG in the colours of the page."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmvideo.evaluation.report.parts.markup import number, tag, text

WIDTH, HEIGHT = 340, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 24


@dataclasses.dataclass(frozen=True)
class Chart:
    """One small chart.

    Attributes:
      title: Title of the chart.
      steps: Steps of the line.
      values: Values of the line; NaN if missing.
      baseline: Values to beat, at the same steps, or None.
      baseline_name: Name of the baseline.
    """

    title: str
    steps: Sequence[int | float]
    values: Sequence[int | float]
    baseline: Sequence[int | float] | None = None
    baseline_name: str = ""


def loss_charts(metrics: Sequence[dict[str, Any]]) -> list[Chart]:
    """Return a chart for every loss of a run, the sum first, each with the baseline that the run logged.

    The baseline of `…/loss` is `…/mean_loss`, and that of `…/video_loss` is `…/video_mean_loss`: the loss of always
    predicting the mean. Likewise `chance_loss` is the loss of guessing.
    """
    names = sorted({name for row in metrics for name in row if name.startswith("train/")})
    losses = [name for name in names if name.endswith("loss") and not _is_baseline(name)]
    losses.sort(key=lambda name: (name.count("/"), name))
    charts = []
    for name in losses:
        found = next((base for base in _baselines(name) if base in names), None)
        said = "predicting the mean" if found and found.endswith("mean_loss") else "guessing"
        charts.append(_chart(metrics, name, _title(name), found, said))
    return [chart for chart in charts if chart is not None]


def metric_charts(metrics: Sequence[dict[str, Any]], wanted: dict[str, str]) -> list[Chart]:
    """Return charts of the metrics in `wanted` (name and title) that the run has."""
    charts = [_chart(metrics, name, title, None, "") for name, title in wanted.items()]
    return [chart for chart in charts if chart is not None]


def other_metrics(metrics: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return name and title of the metrics of objectives other than losses and counts."""
    names = sorted({name for row in metrics for name in row if name.startswith("train/")})
    return {name: _title(name) for name in names if not name.endswith(("loss", "/clips", "/tokens"))}


def draw(charts: Sequence[Chart], *, zero: bool = False) -> str:
    """Return the charts side by side; `zero` starts every value axis at zero."""
    return tag("div", *(_figure(chart, zero) for chart in charts), class_="charts")


def _is_baseline(name: str) -> bool:
    return name.endswith(("mean_loss", "chance_loss"))


def _baselines(name: str) -> list[str]:
    return [name[: -len("loss")] + kind for kind in ("mean_loss", "chance_loss")]


def _title(name: str) -> str:
    parts = name.removeprefix("train/").replace("_", " ").split("/")
    return "loss, all objectives" if parts == ["loss"] else " · ".join(parts)


def _chart(metrics: Sequence[dict[str, Any]], name: str, title: str, baseline: str | None, said: str) -> Chart | None:
    """Return the chart of a metric over the steps at which it was logged; None if it never was."""
    rows = [row for row in metrics if isinstance(row.get(name), int | float)]
    if not rows:
        return None
    under = None if baseline is None else [_float(row.get(baseline)) for row in rows]
    return Chart(title, [row["step"] for row in rows], [_float(row[name]) for row in rows], under, said)


def _float(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _figure(chart: Chart, zero: bool) -> str:
    steps, values = np.asarray(chart.steps, float), np.asarray(chart.values, float)
    shown = values if chart.baseline is None else np.concatenate([values, np.asarray(chart.baseline, float)])
    low, high = _range(shown, zero)
    ticks = nice_ticks(low, high)
    frame = Frame(steps.min(), max(steps.max(), steps.min() + 1), min(low, ticks[0]), max(high, ticks[-1]))
    parts = [frame.grid(ticks)]
    if chart.baseline is not None:
        parts.append(frame.line(steps, np.asarray(chart.baseline, float), "baseline"))
    smooth = smoothed(values)
    if smooth is not None:
        parts.append(frame.line(steps, values, "raw"))
    parts.append(frame.line(steps, values if smooth is None else smooth, "line"))
    last = (values if smooth is None else smooth)[-1]
    picture = tag(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=f"{chart.title} by step, last {last:.4g}"
    )
    note = f"last {number(float(last))}"
    if chart.baseline is not None:
        note += f' · <span class="dash"></span> {text(chart.baseline_name)} {number(float(chart.baseline[-1]))}'
    title = tag("figcaption", tag("b", text(chart.title)), tag("span", note))
    return tag("figure", title, picture, class_="chart")


def _range(values: np.ndarray, zero: bool) -> tuple[float, float]:
    """Return the lowest and the highest value to show; a few extreme values do not compress the rest."""
    real = values[np.isfinite(values)]
    if not len(real):
        return 0.0, 1.0
    # The 99.5th percentile of 1,000 values leaves out the 5 highest, such as the first losses of a run.
    low = float(real.min())
    high = float(np.percentile(real, 99.5)) if len(real) > 50 else float(real.max())
    low = min(low, 0.0) if zero else low
    if high > low:
        return low, high
    if high == 0:
        return 0.0, 1.0  # A metric that is always 0 has no scale of its own.
    # The axis of a single value ends above it, or at 1 if the value may be a share: 0.8 gives 0.4 to 1, 4 gives 2 to 6.
    above = high + 0.5 * abs(high) + 1e-9
    return low - 0.5 * abs(low) - 1e-9, min(above, 1.0) if 0 < high < 1 else 1.0 if high == 1 else above


def smoothed(values: np.ndarray) -> np.ndarray | None:
    """Return the running median over a thirtieth of the values; None if there are too few to need one."""
    if len(values) < 60:
        return None
    half = max(1, len(values) // 60)
    # 60 values: half 1, windows of 3. Reflection keeps the length and invents no level at the ends.
    padded = np.pad(values, half, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    return np.median(windows, axis=1)


def nice_ticks(low: int | float, high: int | float, about: int = 4) -> list[int | float]:
    """Return round numbers that enclose `low` and `high`: multiples of 1, 2 or 5 times a power of ten."""
    # 0.3 to 9.1: rough 2.2, power 1, step 5, ticks 0, 5, 10.
    rough = max(high - low, 1e-12) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(step * place, 12) for place in range(first, last + 1)]


@dataclasses.dataclass(frozen=True)
class Frame:
    """The axes of a chart: the map from steps and values to positions in the image.

    Attributes:
      first: First step of the horizontal axis.
      last: Last step of the horizontal axis.
      low: Lowest value of the vertical axis.
      high: Highest value of the vertical axis.
    """

    first: int | float
    last: int | float
    low: int | float
    high: int | float

    def x(self, step: np.ndarray | int | float) -> np.ndarray | float:
        return _LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: np.ndarray | int | float) -> np.ndarray | float:
        share = np.clip((value - self.low) / (self.high - self.low), 0.0, 1.0)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def grid(self, ticks: Sequence[int | float]) -> str:
        """Return lines and numbers of both axes."""
        parts = []
        for tick in ticks:
            y = f"{self.y(tick):.1f}"
            parts.append(tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", number(tick), x=_LEFT - 6, y=f"{self.y(tick) + 3.5:.1f}", text_anchor="end"))
        marks = [step for step in nice_ticks(self.first, self.last, 5) if self.first <= step <= self.last]
        for step in marks:
            anchor = "end" if step > self.last - 0.06 * (self.last - self.first) else "middle"
            words = number(step)
            parts.append(tag("text", words, x=f"{self.x(step):.1f}", y=HEIGHT - 6, text_anchor=anchor))
        return "".join(parts)

    def line(self, steps: np.ndarray, values: np.ndarray, kind: str) -> str:
        """Return a line through the finite values, with a gap where a value is missing."""
        pieces, pen = [], "M"
        for step, value in zip(steps, values, strict=True):
            if math.isfinite(value):
                pieces.append(f"{pen}{self.x(step):.1f} {self.y(value):.1f}")
                pen = "L"
            else:
                pen = "M"
        return tag("path", d="".join(pieces), class_=kind)
