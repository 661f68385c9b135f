"""Charts as inline SVG: points with intervals and a front, and lines over steps. No script, no library."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from edgekd.report.markup import Element, tag
from edgekd.report.pareto import front

__all__ = ["Point", "line_chart", "scatter_chart"]

T = TypeVar("T")

_WIDTH, _HEIGHT = 620, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 14, 46
_TICK = 14  # least distance of the labels of an axis, so that none covers another
_LOG_FROM = 8.0  # an axis is logarithmic from this ratio of largest to smallest on


@dataclass(frozen=True)
class Point:
    """A point with a 95 % interval of y; `kind` chooses its colour, `mark` its shape."""

    x: float
    y: float
    low: float
    high: float
    label: str
    kind: str  # fp32, fp16, int8
    mark: int  # 0, 1, 2, ...: one for each device
    ranking: str | None = ""  # points of one ranking have a front of their own; None: not ranked


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        if self.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            decades, most = math.log10(self.high / self.low), abs(self.end - self.start) / _TICK
            digits, every = (1, 2, 5) if 3 * decades <= most else (1,), math.ceil(decades / most)
            values = [digit * 10.0**power for power in powers if power % every == 0 for digit in digits]
        else:
            step = _round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step)
            values = [step * number for number in range(first, first + 12)]
        slack = 1e-9 * (self.high - self.low)
        return [value for value in values if self.low - slack <= value <= self.high + slack]


def scatter_chart(points: Sequence[Point], x: str, y: str, title: str) -> Element:
    """Points, of which lower left is better, with the front of each ranking: those that no other beats in both.

    `x` and `y` are the labels of the axes.
    """
    across = _scale([point.x for point in points], _LEFT, _WIDTH - _RIGHT)
    up = _scale([end for point in points for end in (point.low, point.high)], _HEIGHT - _BOTTOM, _TOP)
    parts = _frame(across, up, x, y)
    best: set[int] = set()
    for ranking in dict.fromkeys(point.ranking for point in points if point.ranking is not None):
        ranked = [place for place, point in enumerate(points) if point.ranking == ranking]
        kept = [ranked[place] for place in front([(points[place].x, points[place].y) for place in ranked])]
        parts.append(_front_line([points[place] for place in kept], across, up))
        best.update(kept)
    taken = [(up(point.y) + 4, across(point.x) - 8, across(point.x) + 8) for point in points]  # names avoid points
    for place, point in enumerate(points):
        parts += _point(point, across, up, place in best, taken)
    return _svg(_WIDTH, _HEIGHT, title, parts)


def line_chart(points: Sequence[tuple[int, float]], label: str) -> Element:
    """A value over steps: every reading faintly, and its running median."""
    width, height = 300, 150
    shown = _thinned(points, 400)
    smooth = _running_median(points, 400)
    values = [value for _, value in shown]
    across = _Scale(float(shown[0][0]), float(max(shown[-1][0], shown[0][0] + 1)), 46, width - 8, log=False)
    # Outliers (the first steps, a spike) would flatten everything else.
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 50], ordered[-1 - len(ordered) // 50]
    up = _scale([low, high], height - 24, 10)
    parts = [*_frame(across, up, "", "", corner=(46, 10, width - 8, height - 24))]
    for line, class_ in ((shown, "raw"), (smooth, "smooth")):
        path = " ".join(f"{across(step):.1f},{up(min(max(value, low), high)):.1f}" for step, value in line)
        parts.append(tag("polyline", points=path, class_=class_))
    return _svg(width, height, label, parts)


def _svg(width: int, height: int, title: str, parts: Sequence[Element]) -> Element:
    return tag(
        "svg",
        tag("title", title),
        parts,
        viewBox=f"0 0 {width} {height}",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    low, high = min(values), max(values)
    if low > 0 and high / low >= _LOG_FROM:
        return _Scale(low / 1.15, high * 1.15, start, end, log=True)
    margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return _Scale(max(0.0, low - margin) if low >= 0 else low - margin, high + margin, start, end, log=False)


def _frame(
    across: _Scale,
    up: _Scale,
    x_label: str,
    y_label: str,
    corner: tuple[float, float, float, float] = (_LEFT, _TOP, _WIDTH - _RIGHT, _HEIGHT - _BOTTOM),
) -> list[Element]:
    left, top, right, bottom = corner
    parts = [tag("rect", x=left, y=top, width=right - left, height=bottom - top, class_="frame")]
    for value in across.ticks():
        place = across(value)
        parts.append(tag("line", x1=place, x2=place, y1=top, y2=bottom, class_="grid"))
        parts.append(tag("text", f"{value:.4g}", x=place, y=bottom + 15, text_anchor="middle", class_="tick"))
    for value in up.ticks():
        place = up(value)
        parts.append(tag("line", x1=left, x2=right, y1=place, y2=place, class_="grid"))
        parts.append(tag("text", f"{value:.4g}", x=left - 5, y=place + 4, text_anchor="end", class_="tick"))
    if x_label:
        parts.append(tag("text", x_label, x=(left + right) / 2, y=bottom + 36, text_anchor="middle", class_="label"))
    if y_label:
        turned = f"rotate(-90 14 {(top + bottom) / 2:.0f})"
        parts.append(
            tag("text", y_label, x=14, y=(top + bottom) / 2, text_anchor="middle", transform=turned, class_="label")
        )
    return parts


def _front_line(points: Sequence[Point], across: _Scale, up: _Scale) -> Element:
    """Steps: between two points of the front nothing better is known."""
    if len(points) < 2:
        return tag("g")  # a front of one point is that point
    corners = [(points[0].x, points[0].y)]
    for before, after in itertools.pairwise(points):
        corners += [(after.x, before.y), (after.x, after.y)]
    return tag("polyline", points=" ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in corners), class_="front")


_MARKS: tuple[Callable[[float, float], str], ...] = (
    lambda x, y: f"M{x - 6:.1f} {y:.1f}a6 6 0 1 0 12 0a6 6 0 1 0 -12 0z",
    lambda x, y: f"M{x - 5.5:.1f} {y - 5.5:.1f}h11v11h-11z",
    lambda x, y: f"M{x:.1f} {y - 7:.1f}l7 12h-14z",
    lambda x, y: f"M{x:.1f} {y - 8:.1f}l7 8l-7 8l-7 -8z",
)


def _point(
    point: Point, across: _Scale, up: _Scale, best: bool, taken: list[tuple[float, float, float]]
) -> list[Element]:
    x, y = across(point.x), up(point.y)
    said = f"{point.label}: {point.x:.4g}, {point.y:.4g} ({point.low:.4g}-{point.high:.4g})"
    parts = [
        tag("line", x1=x, x2=x, y1=up(point.low), y2=up(point.high), class_="interval"),
        tag("path", tag("title", said), d=_MARKS[point.mark % len(_MARKS)](x, y), class_=f"point {point.kind}"),
    ]
    left = x > (_LEFT + _WIDTH) / 2
    breadth = 6.6 * len(point.label)
    low, high = (x - 11 - breadth, x - 11) if left else (x + 11, x + 11 + breadth)
    place = y + 4
    for shift in (0, 14, -14, 28, -28, 42, -42, 56, -56):
        place = min(max(y + 4 + shift, _TOP + 12), _HEIGHT - _BOTTOM - 4)
        if all(abs(place - other) > 12 or high < a or low > b for other, a, b in taken):
            break
    taken.append((place, low, high))
    anchor, start = ("end", x - 11) if left else ("start", x + 11)
    class_ = "name best" if best else "name"
    parts.append(tag("text", point.label, x=start, y=place, text_anchor=anchor, class_=class_))
    return parts


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= step)


def _thinned(points: Sequence[T], most: int) -> list[T]:
    stride = max(1, math.ceil(len(points) / most))
    return [*points[:-1:stride], points[-1]]


def _running_median(points: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At no more than `most` points, those that `_thinned` keeps: at all points of a long run it would take minutes."""
    reach = max(1, len(points) // 60)
    smooth = []
    for place, (step, _) in _thinned(list(enumerate(points)), most):
        near = sorted(value for _, value in points[max(0, place - reach) : place + reach + 1])
        smooth.append((step, near[len(near) // 2]))
    return smooth
