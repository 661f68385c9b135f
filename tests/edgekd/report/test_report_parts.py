"""Markup that cannot be broken out of, the Pareto front, charts, and colours of differences."""

from __future__ import annotations

import itertools
import time
from html.parser import HTMLParser
from typing import Any, cast
from xml.etree import ElementTree

import numpy as np
import pytest

from calibration.coverage import Coverage
from edgekd.report.charts import Point, line_chart, scatter_chart
from edgekd.report.coverage import coverage_parts
from edgekd.report.gather import ReportedRun
from edgekd.report.images import colour_difference, embedded
from edgekd.report.markup import page, tag
from edgekd.report.pareto import front

HOSTILE = '</title><script>alert(1)</script> " onload="x" & \x00\x1b\ud800'


def test_whatever_text_it_is_given_is_text() -> None:
    made = page(tag("html", tag("head", tag("title", HOSTILE)), tag("body", tag("p", HOSTILE, title=HOSTILE), HOSTILE)))
    found: list[tuple[str, list[str]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.append((tag, [name for name, _ in attrs]))  # type: ignore[method-assign]
    parser.feed(made)
    assert found == [("html", []), ("head", []), ("title", []), ("body", []), ("p", ["title"])]
    made.encode("utf-8")  # no half of a surrogate pair remains
    assert "\x00" not in made and "\x1b" not in made


def test_what_is_not_escaped_takes_nothing_that_ends_it() -> None:
    with pytest.raises(ValueError, match="one fixed text"):
        tag("style", "a { } </style><script>")


def test_children_and_text_keep_their_order() -> None:
    assert page(tag("p", "a", tag("b", "c"), "d", None, ["e", tag("i", 1.5)], "f")).splitlines()[1] == (
        "<p>a<b>c</b>de<i>1.5</i>f</p>"
    )


def test_a_long_run_is_drawn_in_no_time() -> None:
    begun = time.process_time()
    page(line_chart([(step, float(step % 7)) for step in range(100_000)], "loss"))
    assert time.process_time() - begun < 5


def test_the_front_against_trying_every_pair() -> None:
    points = [tuple(row) for row in np.random.default_rng(0).integers(0, 12, (60, 2)).astype(float).tolist()]
    kept = front(points)
    for place, point in enumerate(points):
        beaten = any(other[0] <= point[0] and other[1] <= point[1] and other != point for other in points)
        assert (place in kept) is not beaten
    first = [points[place][0] for place in kept]
    assert first == sorted(first)
    assert front([(1.0, 2.0), (2.0, 1.0), (2.0, 2.0)]) == [0, 1]


def svg_of(chart: ElementTree.Element) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(ElementTree.tostring(chart, encoding="unicode")).iter())


def test_each_ranking_has_a_front_of_its_own_and_a_point_in_none_is_beaten_by_nobody() -> None:
    points = [
        Point(1, 0.30, 0.2, 0.4, "a", "int8", 0, "here"),
        Point(2, 0.20, 0.1, 0.3, "b", "fp32", 0, "here"),
        Point(9, 0.25, 0.1, 0.3, "c", "int8", 1, "there"),
        Point(0.5, 0.10, 0.0, 0.2, "d", "fp32", 0, None),
    ]
    parts = svg_of(scatter_chart(points, "ms", "AbsRel", "a chart"))
    assert len([part for part in parts if part.attrib.get("class") == "front"]) == 1  # a front of one point has no line
    assert [part.text for part in parts if part.attrib.get("class") == "name best"] == ["a", "b", "c"]


def test_lower_left_is_better_and_the_axes_say_what_is_where() -> None:
    points = [
        Point(4, 0.30, 0.25, 0.40, "quick", "int8", 0, "here"),
        Point(8, 0.20, 0.15, 0.22, "exact", "fp32", 0, "here"),
    ]
    parts = svg_of(scatter_chart(points, "ms", "AbsRel", "a chart"))
    bars = [part.attrib for part in parts if part.attrib.get("class") == "interval"]
    (quick, exact) = (float(bar["x1"]) for bar in bars)
    (front_line,) = (part.attrib["points"] for part in parts if part.attrib.get("class") == "front")
    corners = [[float(number) for number in corner.split(",")] for corner in front_line.split()]
    assert quick < exact and corners[0][1] < corners[-1][1]  # SVG counts from the top
    assert corners[1] == [corners[-1][0], corners[0][1]]  # until the next point nothing is better
    ticks = [part for part in parts if part.attrib.get("class") == "tick" and part.attrib["text-anchor"] == "end"]
    values, places = zip(*((float(tick.text or ""), float(tick.attrib["y"]) - 4) for tick in ticks), strict=True)
    per_unit, zero = np.polyfit(values, places, 1)
    assert len({*values}) == len(values) > 2 and per_unit < 0
    for point, bar in zip(points, bars, strict=True):
        ends = [per_unit * end + zero for end in (point.low, point.high)]
        assert [float(bar["y1"]), float(bar["y2"])] == pytest.approx(ends, abs=0.5)


def test_a_loss_that_falls_is_drawn_falling() -> None:
    parts = svg_of(line_chart([(step, 100.0 - step) for step in range(100)], "loss"))
    for line in ("raw", "smooth"):
        (drawn,) = (part.attrib["points"] for part in parts if part.attrib.get("class") == line)
        places = [float(corner.split(",")[1]) for corner in drawn.split()]
        assert places == sorted(places) and places[-1] > places[0] + 80


@pytest.mark.parametrize("count", [1, 2, 9])
def test_every_point_lies_inside_its_chart_and_no_two_names_on_each_other(count: int) -> None:
    generator = np.random.default_rng(count)
    points = [
        Point(x, y, y - 0.02, y + 0.02, f"onnxruntime-int8 {number}", "int8", number)
        for number, (x, y) in enumerate(generator.uniform((1, 0.2), (60, 0.24), (count, 2)).tolist())
    ]
    chart = scatter_chart(points, "p50 latency, ms", "AbsRel", "a chart")
    width, height = (float(size) for size in chart.attrib["viewBox"].split()[2:])
    parts = svg_of(chart)
    names = [part for part in parts if part.attrib.get("class", "").startswith("name")]
    assert len(names) == count
    assert len([part for part in parts if part.attrib.get("class") == "point int8"]) == count
    for part in parts:
        if {"x1", "y1"} <= part.attrib.keys():
            assert 0 <= float(part.attrib["x1"]) <= width and 0 <= float(part.attrib["y1"]) <= height
    if count <= 9:
        spans = []
        for name in names:
            breadth, x = 6.6 * len(name.text or ""), float(name.attrib["x"])
            low = x - breadth if name.attrib["text-anchor"] == "end" else x
            spans.append((low, low + breadth, float(name.attrib["y"])))
        for (a, b, y), (c, d, z) in itertools.combinations(spans, 2):
            assert abs(y - z) > 10 or b < c or a > d


def test_equal_figures_and_constant_curves_can_be_drawn() -> None:
    same = [Point(2.0, 0.3, 0.3, 0.3, name, "fp32", 0) for name in "ab"]
    scatter_chart(same, "x", "y", "t")
    scatter_chart([Point(0.0, 0.0, 0.0, 0.0, "zero", "fp32", 0)], "x", "y", "t")
    line_chart([(0, 1.0)], "one")
    line_chart([(step, 0.5) for step in range(2000)], "flat")
    line_chart([(step, 0.0 if step < 3 else 2.0**-step) for step in range(200)], "zero at first, then over decades")


@pytest.mark.parametrize("last", [0.2, 0.04, 1e-3, 1e-4, 1e-6, 1e-12])
def test_no_two_values_beside_a_curve_cover_each_other(last: float) -> None:
    parts = svg_of(line_chart([(step, last ** (step / 99)) for step in range(100)], "loss"))
    places = sorted(float(part.attrib["y"]) for part in parts if part.attrib.get("text-anchor") == "end")
    assert len(places) > 2 and min(np.diff(places)) > 11  # the height of their letters


def test_a_long_curve_is_thinned() -> None:
    chart = line_chart([(step, float(np.sin(step / 300))) for step in range(20_000)], "loss")
    assert len(ElementTree.tostring(chart)) < 20_000


def test_colours_of_a_difference() -> None:
    reference = np.array([[2.0, 2.0, 2.0, 0.0, np.nan]])
    colours = colour_difference(np.array([[2.0, 2.05, 4.0, 2.0, 2.0]]), reference, 0.05)
    white, half, full, hole, nan = colours[0].tolist()
    assert min(white) > 245 and full[0] < 110 and full[2] < 40
    assert white[1] > half[1] > full[1]
    assert hole == nan == [96, 96, 96]


def test_pictures_are_inside_the_page_and_not_wider_than_asked() -> None:
    image = embedded(np.zeros((100, 400, 3), np.uint8), 'a "quoted" name', widest=200)
    assert image.attrib["src"].startswith("data:image/jpeg;base64,")
    assert (image.attrib["width"], image.attrib["height"]) == ("200", "50")


@pytest.mark.parametrize("content", [{"layers": [{}]}, {"layers": {}, "n": None}, [[]], [{}, {"a": 1}], "x", None])
def test_a_coverage_file_may_hold_anything(content: Any) -> None:
    run = ReportedRun(cast(Any, None), "a", (), {}, None, None, None, {"check/coverage.json": content}, ())
    assert "check/coverage.json" in page(tag("html", coverage_parts(run)))


def test_what_a_set_covers_and_how_much_of_a_long_file_is_shown() -> None:
    covered = Coverage(count=9, distinct=7, flat=2, darkest=31.0, brightest=201.0, smoothness=0.91)
    files = {"check/coverage.json": {"layers": [{"name": f"conv_{number}"} for number in range(61)]}}
    run = ReportedRun(cast(Any, None), "a", (), {}, None, "rooms", covered, files, ())
    text = page(tag("html", coverage_parts(run)))
    assert "9, 7 of them different, 2 of a single colour" in text and "31 to 201 of 255" in text
    assert "layers (the first 60 of 61)" in text and "conv_59" in text and "conv_60" not in text
