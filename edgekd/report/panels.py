"""Depth to look at: picture, teacher, fp32, int8 and their difference, on one scale; and the worst frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import EdgekdError
from calibration.wording import counted
from edgekd.bench.gallery import Shown
from edgekd.evaluate.evaluate import Evaluation
from edgekd.pictures import colour_depth, depth_range, read_picture, scale_bar
from edgekd.report.gather import Benched, Entry, ReportedRun, Story
from edgekd.report.images import colour_difference, embedded
from edgekd.report.markup import Element, quiet, tag
from edgekd.report.tables import table
from edgekd.steps.artefacts import calibration_set
from edgekd.steps.check import read_references

__all__ = ["depth_panels", "previews", "worst_frames"]

_LIMIT = 0.05  # share of depth at which the colours of a difference end
_MOST_REDUCED = 2  # artefacts shown in int8 or fp16, of one machine
_WORST_NAMED = 12


def depth_panels(reported: ReportedRun) -> Iterator[Element]:
    """Rows of panels for the held-out pictures, of the newest bench of each machine."""
    seen: set[str] = set()
    for benched in reported.benches:
        device = benched.result.machine.device
        if device in seen or benched.gallery is None or benched.gallery.held_out is None:
            continue
        seen.add(device)
        yield from _panels(reported, benched, benched.gallery.held_out)
    if not seen:
        yield quiet("No pictures were kept: measure again with edgekd bench.")


def _panels(reported: ReportedRun, benched: Benched, shown: Shown) -> Iterator[Element]:
    columns: list[tuple[str, NDArray[Any], NDArray[Any] | None]] = []  # name, depth, what it is compared with
    teacher = _teacher(reported, shown.pictures)
    fp32 = next((name for name in shown.depth if name.endswith("-fp32")), None)
    if teacher is not None:
        columns.append(("teacher", teacher, None))
    if fp32 is not None:
        columns.append((fp32, shown.depth[fp32], None))
    for name in [name for name in shown.depth if name.endswith(("-int8", "-fp16"))][:_MOST_REDUCED]:
        columns.append((name, shown.depth[name], None if fp32 is None else shown.depth[fp32]))
    yield from _grid(shown, columns, benched.result.machine.device)


def worst_frames(story: Story, reported: ReportedRun) -> Iterator[Element]:
    """For each protocol and data set, the frames that were scored worst, with pictures where they were kept."""
    told = False
    for protocol in story.protocols:
        scored = [(entry, score) for entry, score in story.scored(protocol) if entry.run == reported.name]
        if not scored:
            continue
        told = True
        chosen = next((pair for pair in scored if pair[0].row.precision == "int8"), scored[0])
        yield tag("h4", f"{protocol.protocol} on {protocol.dataset}")
        kept = [benched for benched in reported.benches if _scored_on(benched, protocol)]
        shown = next((one for one in kept if one.gallery is not None and one.gallery.worst is not None), None)
        if shown is not None and shown.gallery is not None and shown.gallery.worst is not None:
            yield from _worst_panels(shown.gallery.worst, chosen[0], shown.result.machine.device)
        elif kept and kept[0].gallery is not None and kept[0].gallery.note:
            yield quiet(f"{kept[0].gallery.note}.")
        yield _worst_table(chosen)
    if not told:
        yield quiet("Nothing was scored: edgekd bench --data PATH.")


def _scored_on(benched: Benched, asked: Evaluation) -> bool:
    scores = (row.evaluation for row in benched.result.rows if row.evaluation is not None)
    return any((score.protocol, score.digest) == (asked.protocol, asked.digest) for score in scores)


def previews(reported: ReportedRun) -> Iterator[Element]:
    """The last strip of the distillation: simulated, mixed and transformed pictures."""
    if reported.preview is None:
        yield quiet("This run has no previews.")
        return
    try:
        picture = embedded(read_picture(reported.preview), "simulated, mixed and transformed pictures", widest=900)
    except EdgekdError as error:
        yield quiet(error.message)
        return
    step = reported.preview.stem.lstrip("0") or "0"
    yield tag("figure", picture, tag("figcaption", f"After step {step}"), class_="strip")


def _worst_panels(shown: Shown, chosen: Entry, device: str) -> Iterator[Element]:
    columns: list[tuple[str, NDArray[Any], NDArray[Any] | None]] = []
    if shown.truth is not None:
        columns.append(("truth", shown.truth, None))
    if chosen.row.name in shown.depth:
        columns.append((chosen.row.name, shown.depth[chosen.row.name], shown.truth))
    yield from _grid(shown, columns, device, limit=0.5)


def _worst_table(chosen: tuple[Entry, Any]) -> Element:
    entry, score = chosen
    valid = [row for row in score.rows if row.valid]
    worst = sorted(valid, key=lambda row: -row.scores["raw"]["absrel"])[:_WORST_NAMED]
    rows = [
        [
            row.name,
            row.scene,
            *(f"{row.scores['raw'][name]:.3f}" for name in ("absrel", "delta1", "scale")),
            str(row.valid),
        ]
        for row in worst
    ]
    caption = f"The worst of {counted(len(valid), 'frame')} with {entry.row.name}, unaligned"
    return table(["frame", "scene", "AbsRel", "δ1", "scale", "pixels"], rows, caption)


def _grid(
    shown: Shown,
    columns: Sequence[tuple[str, NDArray[Any], NDArray[Any] | None]],
    device: str,
    *,
    limit: float = _LIMIT,
) -> Iterator[Element]:
    """One row per picture. All depth has one range; differences have their own, which is stated."""
    if not columns:
        return
    low, high = depth_range([depth for _, depth, _ in columns])
    figures: list[Element] = []
    width = 1
    for place, name in enumerate(shown.names):
        cells = [_figure(shown.pictures[place], name)]
        for label, depth, other in columns:
            cells.append(_figure(colour_depth(depth[place], low, high), label))
            if other is not None:
                against = "truth" if other is shown.truth else "fp32"
                cells.append(_figure(colour_difference(depth[place], other[place], limit), f"{label} - {against}"))
        figures += cells
        width = len(cells)
    bar = tag("figure", embedded(scale_bar(low, high, 170), "scale"), class_="bar")
    said = (
        f"On {device}. One scale for all depth: {low:.2f} m (light) to {high:.2f} m (dark); grey: no depth. "
        f"Differences: white none, dark red {limit:.0%} of depth or more."
    )
    grid = tag("div", figures, class_="panels", style=f"grid-template-columns:repeat({width},minmax(96px,1fr))")
    yield tag("div", tag("div", grid, bar, class_="with-bar"), class_="scroll", tabindex="0")
    yield quiet(said)


def _figure(picture: NDArray[np.uint8], label: str) -> Element:
    return tag("figure", embedded(picture, label, widest=224), tag("figcaption", label))


def _teacher(reported: ReportedRun, pictures: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """The teacher's depth for these pictures, if they are still the first held-out ones of the run."""
    count = len(pictures)
    try:
        kept = read_references(reported.run).teacher
        held_out = np.asarray(calibration_set(reported.run).split()[1][:count])
    except EdgekdError:
        return None
    return kept[:count] if kept is not None and np.array_equal(held_out, pictures) else None
