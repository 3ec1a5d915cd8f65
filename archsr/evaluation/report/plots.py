"""Plots of the page as inline SVG. Text has one size and lengths are in per cent, so that phones show them well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from archsr.evaluation.metrics import Metric
from archsr.evaluation.report.words import about
from archsr.evaluation.selection import PERCEPTUAL
from archsr.evaluation.statistics.verdicts import MetricFinding, findings
from archsr.evaluation.suite import Scores
from archsr.evaluation.summary import difference, figure, mean, short_title

_ROW = 38  # pixels per metric
_FARTHEST = 5.0  # standard deviations at the end of the axis; an arrow marks larger values
_HEIGHT, _TOP, _LINE = 330, 24, 15  # plane, pixels: height, top margin, height of a label


def forest(scores: Scores, new: str, old: str) -> str:
    """Return an SVG of differences in standard deviations over scenes, right is better, the primary metric on top."""
    metrics = {m.name: m for m in scores.metrics}
    found = findings(scores, new, old)
    rows = [_PlotRow.of(each, metrics[name], short_title(scores, name)) for name, each in found.items()]
    ends = [abs(v) for row in rows for v in (row.mean, row.low, row.high) if math.isfinite(v)]
    limit = min(_FARTHEST, max(1.0, math.ceil(max(ends, default=1.0))))
    bottom = _TOP + _ROW * len(rows)
    parts = [
        "<text x=0 y=14>← worse</text><text x='100%' y=14 text-anchor=end>better →</text>",
        f"<line class=axis x1='50%' x2='50%' y1={_TOP} y2={bottom} />",
        *(_forest_row(row, _TOP + _ROW * n, limit, first=n == 0) for n, row in enumerate(rows)),
        *(_text(_place(tick, limit), bottom + 16, f"{tick:+g}" if tick else "0", "middle")
          for tick in (-limit, -limit / 2, 0, limit / 2, limit)),
    ]  # fmt: skip
    label = f"differences of {new} from {old} in standard deviations over scenes"
    return _svg(parts, bottom + 22, label)


@dataclass(frozen=True)
class _PlotRow:
    """`mean`, `low` and `high` in standard deviations, positive is better; `change` in the metric's unit."""

    title: str
    verdict: str
    change: str
    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, found: MetricFinding, metric: Metric, title: str) -> "_PlotRow":
        mean, low, high = found.difference.standardised
        if not metric.higher_is_better:
            mean, low, high = -mean, -high, -low
        change = figure(found.difference.mean, about(metric.name).digits + 1, signed=True)
        return cls(title, found.verdict, change, mean, low, high)


def _forest_row(row: _PlotRow, y: int, limit: float, *, first: bool) -> str:
    kind = row.verdict if row.verdict in ("better", "worse") else "open"
    strong = " font-weight=600" if first else ""
    shade = f"<rect class=shade x=0 y={y} width='100%' height={_ROW} />" if first else ""
    named = f"<text x=4 y={y + 15}{strong}>{escape(row.title)}</text>"
    told = f"<text class={kind} x='99%' y={y + 15} text-anchor=end{strong}>{row.change}, {row.verdict}</text>"
    line = y + 27
    if math.isnan(row.mean):
        return f"{shade}{named}{told}"
    bar = ""
    if not math.isnan(row.low):
        ends = f"x1='{_place(row.low, limit)}' x2='{_place(row.high, limit)}'"
        bar = f"<line class='bar {kind}' {ends} y1={line} y2={line} />"
        bar += "".join(
            _text(_place(side * limit, limit), line + 5, "›" if side > 0 else "‹", "middle", kind)
            for side in (-1, 1) if max(side * row.low, side * row.high) > limit >= abs(row.mean)
        )  # fmt: skip
    if abs(row.mean) > limit:
        dot = _text(_place(row.mean, limit), line + 5, "▶" if row.mean > 0 else "◀", "middle", kind)
    else:
        dot = f"<circle class='dot {kind}' cx='{_place(row.mean, limit)}' cy={line} r=4.5 />"
    return f"{shade}{named}{told}{bar}{dot}"


def _place(value: float, limit: float) -> str:
    """Return the position on the axis, in per cent of the width."""
    return f"{50 + 47 * min(1.0, max(-1.0, value / limit)):.2f}%"


def perceptual_distance(scores: Scores) -> Metric | None:
    """Return the metric of the plane's second axis: the first perceptual distance that was measured."""
    taken = {m.name: m for m in scores.metrics}
    return next((taken[name] for name in PERCEPTUAL if name in taken), None)


@dataclass(frozen=True)
class _Point:
    """A model on the plane; `spans` are the ends of both intervals, of x and of y."""

    name: str
    x: float
    y: float
    spans: tuple[tuple[float, float], tuple[float, float]]


def plane(scores: Scores) -> str:
    """Plot PSNR against the perceptual distance, so that up and right is better; empty if one is missing.

    A bar is the 95 % interval of the difference from the baseline. Blends of two models are joined by a line.
    """
    distance = perceptual_distance(scores)
    fidelity = next((m for m in scores.metrics if m.name == "psnr"), None)
    if distance is None or fidelity is None:
        return ""
    points = [_point(scores, name, fidelity, distance) for name, _ in scores.compared_models]
    points = [p for p in points if math.isfinite(p.x) and math.isfinite(p.y)]
    if len(points) < 2:
        return ""
    axes = _Axis.over([(p.x, *p.spans[0]) for p in points]), _Axis.over([(p.y, *p.spans[1]) for p in points])
    parts = [*_grid(axes, fidelity, distance), *_paths(scores, points, axes)]
    ring = scores.baseline  # drawn last, so that a blend with share 0 does not hide it
    parts += [_mark(p, axes, first=p.name == ring) for p in sorted(points, key=lambda p: p.name == ring)]
    parts += _labels(points, axes, {name for path in scores.paths for name in path})
    return _svg(parts, _HEIGHT, f"{fidelity.title} against {distance.title}, a point a model")


def _point(scores: Scores, name: str, fidelity: Metric, distance: Metric) -> _Point:
    spans: list[tuple[float, float]] = []
    for metric in (fidelity, distance):
        found = difference(scores, metric, name, scores.baseline) if name != scores.baseline else None
        start = mean(scores, scores.baseline, metric.name)
        spans.append((math.nan, math.nan) if found is None else (start + found.low, start + found.high))
    x, y = (mean(scores, name, m.name) for m in (fidelity, distance))
    return _Point(name, x, y, (spans[0], spans[1]))


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    step: float

    @classmethod
    def over(cls, values: Sequence[Sequence[float]]) -> "_Axis":
        """Return an axis with a step of 1, 2 or 5 times a power of ten, and at most five steps."""
        known = [v for each in values for v in each if math.isfinite(v)]
        span = max(known) - min(known) or abs(known[0]) or 1.0
        power = 10.0 ** math.floor(math.log10(span / 5))
        step = next(power * n for n in (1, 2, 5, 10) if power * n * 5 >= span)
        return cls(min(known) - span * 0.06, max(known) + span * 0.06, step)

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step), math.floor(self.high / self.step)
        return [n * self.step for n in range(first, last + 1)]


_Axes = tuple[_Axis, _Axis]


def _x(value: float, axes: _Axes) -> str:
    return f"{14 + 84 * axes[0].share(value):.2f}%"


def _y(value: float, axes: _Axes) -> float:
    return round(_TOP + (_HEIGHT - _TOP - 44) * axes[1].share(value), 1)


def _grid(axes: _Axes, fidelity: Metric, distance: Metric) -> list[str]:
    bottom = _HEIGHT - 40
    parts = [_text("0", 14, f"↑ {distance.title}, lower is better", "start"),
             _text("98%", _HEIGHT - 4, f"{fidelity.title}, higher is better →", "end")]  # fmt: skip
    for tick in axes[0].ticks():
        parts += [f"<line class=grid x1='{_x(tick, axes)}' x2='{_x(tick, axes)}' y1={_TOP} y2={bottom} />",
                  _text(_x(tick, axes), bottom + 16, f"{tick:.6g}", "middle")]  # fmt: skip
    for tick in axes[1].ticks():
        y = _y(tick, axes)
        parts += [f"<line class=grid x1='14%' x2='98%' y1={y} y2={y} />", _text("12.5%", y + 4, f"{tick:.6g}", "end")]
    return parts


def _paths(scores: Scores, points: Sequence[_Point], axes: _Axes) -> list[str]:
    at = {p.name: (_x(p.x, axes), _y(p.y, axes)) for p in points}
    joined = [(at[a], at[b]) for path in scores.paths for a, b in pairwise(path)
              if a in at and b in at]  # fmt: skip
    return [f"<line class=path x1='{a[0]}' y1={a[1]} x2='{b[0]}' y2={b[1]} />" for a, b in joined]


def _mark(point: _Point, axes: _Axes, *, first: bool) -> str:
    x, y = _x(point.x, axes), _y(point.y, axes)
    (left, right), (above, below) = point.spans
    bars = "" if math.isnan(left) else f"<line class=span x1='{_x(left, axes)}' x2='{_x(right, axes)}' y1={y} y2={y} />"
    if not math.isnan(above):
        bars += f"<line class=span x1='{x}' x2='{x}' y1={_y(above, axes)} y2={_y(below, axes)} />"
    shape = f"<circle class='dot{' hollow' if first else ''}' cx='{x}' cy={y} r=5 />"
    return f"<g><title>{escape(point.name)}</title>{bars}{shape}</g>"


def _labels(points: Sequence[_Point], axes: _Axes, on_paths: set[str]) -> list[str]:
    """Place names beside the points, moved down where they would touch. Blends only show their share."""
    parts: list[str] = []
    taken: dict[str, float] = {}
    for point in sorted(points, key=lambda p: _y(p.y, axes)):
        side = "end" if axes[0].share(point.x) > 0.5 else "start"
        y = max(_y(point.y, axes) - 7, taken.get(side, -math.inf) + _LINE)
        taken[side] = y
        _, blend, share = point.name.rpartition(" × ")
        name = f"× {share}" if blend and point.name in on_paths else point.name
        aside = -9 if side == "end" else 9
        parts.append(
            f"<text class=name x='{_x(point.x, axes)}' dx={aside} y={y:.1f} text-anchor={side}>{escape(name)}</text>"
        )
    return parts


def _text(x: str, y: float, text: str, anchor: str, kind: str = "") -> str:
    of = f" class={kind}" if kind else ""
    return f"<text{of} x='{x}' y={y:g} text-anchor={anchor}>{escape(text)}</text>"


def _svg(parts: Sequence[str], height: int, label: str) -> str:
    return f"<svg class=plot role=img aria-label='{escape(label, quote=True)}' height={height}>{''.join(parts)}</svg>"
