"""The tables of the page: speed by machine, accuracy by protocol, drift, conditions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from calibration.errors import EdgekdError
from calibration.wording import counted
from edgekd.bench.conditions import Conditions
from edgekd.bench.figures import SPEED, Figure
from edgekd.bench.grade import Grade
from edgekd.bench.latency import Measured
from edgekd.report.figures import ACCURACY
from edgekd.report.gather import Entry, Story, same_pixels
from edgekd.report.markup import Child, Element, quiet, tag

__all__ = ["accuracy_tables", "conditions_table", "drift_table", "speed_tables", "table"]


def table(headings: Sequence[Child], rows: Sequence[Sequence[Child]], caption: Child = None) -> Element:
    """A table that scrolls by itself where the screen is narrow; the first column names the row."""
    head = tag("tr", [tag("th", heading, scope="col") for heading in headings])
    body = [tag("tr", tag("th", row[0], scope="row"), [_td(cell) for cell in row[1:]]) for row in rows]
    inner = tag("table", tag("caption", caption) if caption else None, tag("thead", head), tag("tbody", body))
    return tag("div", inner, class_="scroll", tabindex="0")


def _td(cell: Child) -> Element:
    """Words are aligned left, figures right."""
    words = isinstance(cell, str) and (len(cell) > 24 or not (cell[:1].isdigit() or cell[:1] in "-<"))
    return tag("td", cell, class_="w" if words else None)


def speed_tables(story: Story) -> Iterator[Element]:
    """One table per machine and setting: latencies of two machines are shown side by side, never in one ranking."""
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in story.entries:
        groups.setdefault((entry.device, entry.setting), []).append(entry)
    for (device, setting), entries in groups.items():
        caption = f"{device}: {setting}"
        columns = [column for column in SPEED if any(column.value(entry.row) is not None for entry in entries)]
        headings: list[Child] = ["artefact", *(tag("abbr", column.heading, title=column.about) for column in columns)]
        best = {column.name: _best(column, entries) for column in columns}
        rows: list[Sequence[Child]] = []
        for entry in entries:
            if not columns or (not entry.measured and not entry.row.drift):
                rows.append([_name(story, entry), tag("span", entry.row.reason or "not measured", class_="quiet")])
                continue
            rows.append([_name(story, entry), *(_cell(column, entry, best[column.name]) for column in columns)])
        yield table(headings, rows, caption)
        for entry in entries:
            if entry.row.reason:
                why = EdgekdError(entry.row.reason, fix=entry.row.fix or "")
                yield quiet(tag("b", entry.row.name), f": {why}")


def accuracy_tables(story: Story) -> Iterator[Element]:
    """One table per protocol and data set: their figures never share a column."""
    for protocol in story.protocols:
        scored = story.scored(protocol)
        alike = same_pixels(scored)
        ranked = [score for _, score in scored] if alike and len(scored) > 1 else []
        best = {column.name: column.best([column.value(score) for score in ranked]) for column in ACCURACY if ranked}
        rows: list[Sequence[Child]] = []
        for entry, score in scored:
            cells: list[Child] = [_name(story, entry, device=True)]
            for column in ACCURACY:
                value, interval = column.value(score), column.interval(score)
                text = tag("b" if value == best.get(column.name) else "span", f"{value:.3f}")
                shown = interval if column.name in ("absrel", "delta1") else None
                range_ = tag("small", f" {shown[0]:.3f}-{shown[1]:.3f}") if shown else None
                cells.append([text, range_])
            rows.append(cells)
        caption = f"Protocol {protocol.protocol} on {protocol.dataset}: {protocol.about}"
        yield table(["artefact", *(column.heading for column in ACCURACY)], rows, caption)
        yield quiet(
            f"{counted(protocol.images, 'image')} ({protocol.note or 'no note'}), digest {protocol.digest[:12]}. "
            f"Small figures: 95 % interval, {protocol.drawn} drawn. Aligned figures use the truth; a user gets "
            "the first four columns."
        )
        if not alike:
            yield quiet(
                "These networks see different parts of the pictures and were scored on different pixels: their figures "
                "must not be ranked."
            )
        of: dict[str, list[str]] = {}
        for entry, score in scored:
            for remark in score.remarks():
                of.setdefault(remark, []).append(entry.row.name)
        for remark, names in of.items():
            yield quiet(f"{', '.join(names)}: {remark}")


def drift_table(story: Story) -> Element | None:
    """Disagreement with fp32 when each artefact was built, on held-out pictures."""
    figures = {
        "abs_rel": "AbsRel ↓",
        "abs_rel_aligned": "aligned ↓",
        "within_5": "<5 % ↑",
        "within_1": "<1 % ↑",
        "scale_ratio": "scale →1",
        "rank_correlation": "rank ↑",
        "abs_rel_edges": "edges ↓",
    }
    shown: dict[tuple[str, str, str], Entry] = {}
    for entry in story.entries:
        if entry.row.drift:
            shown.setdefault((entry.run, entry.row.name, entry.row.model), entry)
    rows: list[Sequence[Child]] = [
        [
            _name(story, entry),
            *(f"{entry.row.drift[name]:.4f}" if name in entry.row.drift else "-" for name in figures),
            entry.row.drift_on or "-",
        ]
        for entry in shown.values()
    ]
    return table(["artefact", *figures.values(), "measured on"], rows) if rows else None


def conditions_table(story: Story) -> Element | None:
    """Every graded figure, why it has its grade, and what the machine did meanwhile."""
    rows: list[Sequence[Child]] = []
    for entry in story.entries:
        for what, measured in _graded(entry):
            conditions = measured.conditions
            rows.append(
                [
                    [_name(story, entry, device=True), tag("small", f" {what}")],
                    _badge(measured.grade),
                    "; ".join(measured.grade.evidence),
                    _clock(conditions),
                    _heat(conditions),
                    "-" if conditions.others is None else f"{conditions.others:.2f}",
                    ", ".join(f"{name} {watts:.1f}" for name, watts in conditions.watts.items()) or "-",
                    ", ".join(measured.grade.unknown) or "nothing",
                ]
            )
        if entry.row.cold is not None:
            given = entry.row.cold.grade
            rows.append(
                [
                    [_name(story, entry, device=True), tag("small", " cold start")],
                    _badge(given),
                    "; ".join(given.evidence),
                    *["-"] * 4,
                    ", ".join(given.unknown),
                ]
            )
    headings = ["figure", "grade", "evidence", "clock MHz", "hottest", "cores used by others", "watts", "not monitored"]
    return table(headings, rows) if rows else None


def _graded(entry: Entry) -> Iterator[tuple[str, Measured]]:
    latency, throughput = entry.row.latency, entry.row.throughput
    if latency is not None:
        parts = {"latency": latency.infer, "no copies": latency.resident, "framed": latency.framed}
        yield from ((what, part) for what, part in parts.items() if part is not None)
    if throughput is not None:
        yield counted(throughput.streams, "stream"), throughput.measured


def _heat(conditions: Conditions) -> str:
    return "-" if conditions.temperature is None else f"{conditions.temperature:.0f} °C ({conditions.hottest})"


def _clock(conditions: Conditions) -> str:
    parts = [
        (conditions.clock_early_mhz, conditions.clock_late_mhz, ""),
        (conditions.gpu_clock_early_mhz, conditions.gpu_clock_late_mhz, "GPU "),
    ]
    return ", ".join(f"{name}{a:.0f} to {b:.0f}" for a, b, name in parts if a is not None and b is not None) or "-"


def _best(column: Figure, entries: Sequence[Entry]) -> float | None:
    """The best value, or None where there is nothing to choose; figures of grade C are not compared."""
    found = [column.value(entry.row) for entry in entries if column.grade(entry.row) != "C"]
    values = [value for value in found if value is not None]
    return column.best(values) if len(values) > 1 else None


def _cell(column: Figure, entry: Entry, best: float | None) -> Child:
    value, letter = column.value(entry.row), column.grade(entry.row)
    text = tag("b" if value is not None and value == best else "span", column.text(entry.row))
    mark = tag("i", letter, class_=f"grade {letter}", title=f"grade {letter}") if letter and value is not None else None
    extra = None
    if column.name == "p99_ms" and entry.row.latency is not None:
        timing = entry.row.latency.infer.timing
        high = "?" if timing.p99_high is None else f"{timing.p99_high:.2f}"
        extra = tag("small", f" {timing.p99_low:.2f}-{high}", title="95 % interval of p99")
    if column.name == "pictures_per_s" and entry.row.throughput is not None:
        extra = tag("small", f" in {entry.row.throughput.streams}", title="concurrent streams")
    return [text, mark, extra]


def _badge(given: Grade) -> Element:
    return tag("i", given.letter, class_=f"grade {given.letter}")


def _name(story: Story, entry: Entry, *, device: bool = False) -> Child:
    """The artefact; with its run, machine and setting where the report has several."""
    parts = [entry.run] if len(story.runs) > 1 else []
    if device:
        parts += [entry.device] if len({other.device for other in story.entries}) > 1 else []
        parts += [entry.setting] if len({other.setting for other in story.entries}) > 1 else []
    return [entry.row.name, tag("small", f" {', '.join(parts)}") if parts else None]
