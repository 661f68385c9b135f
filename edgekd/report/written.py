"""The report as Markdown: tables and advice, without pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from calibration.wording import counted
from edgekd.bench.figures import SPEED
from edgekd.report.advice import advise
from edgekd.report.figures import ACCURACY
from edgekd.report.gather import Entry, Story

__all__ = ["markdown_report"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$])")


def markdown_report(story: Story) -> str:
    """The document; the names of runs and files are escaped."""
    return "\n".join(_lines(story)).rstrip() + "\n"


def _lines(story: Story) -> Iterator[str]:
    yield f"# edgekd report: {', '.join(_text(reported.name) for reported in story.runs)}"
    yield ""
    for reported in story.runs:
        teacher = reported.run.manifest.teacher
        if teacher is not None:
            yield f"- {_text(reported.name)}: teacher {_text(teacher.name)} (`{teacher.digest[:12]}`)"
    for device, entry in {entry.device: entry for entry in story.entries}.items():
        machine = entry.machine
        cores = counted(machine.usable_cores, "core")
        yield f"- {_text(device)}: {_text(machine.cpu)}, {cores}, {_text(machine.system)}"
    yield from _section("In short", [f"- {_text(one.text)}" for one in advise(story)])
    yield from _section("Speed, size and memory", _speed(story))
    for protocol in story.protocols:
        heading = f"Accuracy: {protocol.protocol} on {_text(protocol.dataset)}"
        rows = [
            [_name(entry), *(f"{column.value(score):.3f}" for column in ACCURACY)]
            for entry, score in story.scored(protocol)
        ]
        yield from _section(heading, _table(["artefact", *(column.heading for column in ACCURACY)], rows))
        yield f"{_text(protocol.about)}; {counted(protocol.images, 'image')}, digest `{protocol.digest[:12]}`."
    yield from _section("Grades", _grades(story))
    missing = [f"- {_text(line)}" for reported in story.runs for line in reported.missing]
    yield from _section("Missing", missing)


def _section(heading: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {heading}", "", *lines)
        yield ""


def _speed(story: Story) -> list[str]:
    columns = [column for column in SPEED if any(column.value(entry.row) is not None for entry in story.entries)]
    rows = []
    for entry in story.entries:
        grade = "-" if entry.row.latency is None else entry.row.latency.infer.grade.letter
        setting = [_text(str(entry.settings.get(name) or "-")) for name in ("threads", "batch", "device")]
        rows.append(
            [_name(entry), _text(entry.device), *setting, *(column.text(entry.row) for column in columns), grade]
        )
    headings = ["artefact", "machine", "threads", "batch", "device", *(column.heading for column in columns), "grade"]
    return _table(headings, rows) if rows else []


def _grades(story: Story) -> list[str]:
    found = []
    for entry in story.entries:
        latency = entry.row.latency
        if latency is not None:
            evidence = _text("; ".join(latency.infer.grade.evidence))
            found.append(f"- {_name(entry)} on {_text(entry.device)}: {latency.infer.grade.letter}, {evidence}")
        if entry.row.reason:
            found.append(f"- {_name(entry)}: {_text(entry.row.reason)}")
    return found


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    head = [_text(heading) for heading in headings]
    return [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _name(entry: Entry) -> str:
    return _text(f"{entry.run} {entry.row.name}")


def _text(value: str) -> str:
    """One line in which nothing is markup."""
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))
