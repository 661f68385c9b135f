"""The report as CSV: a line for each artefact, machine, protocol and data set."""

from __future__ import annotations

import csv
import io

from edgekd.bench.figures import SPEED
from edgekd.evaluate.evaluate import Evaluation
from edgekd.report.figures import ACCURACY
from edgekd.report.gather import Entry, Story

__all__ = ["csv_report"]

_RISKY = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet takes a cell that begins with one of these for a formula; a quote before it makes it text."""


def csv_report(story: Story) -> str:
    """Comma-separated text. An artefact that was not scored has a line with empty accuracy."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        [
            *("run", "machine", "artefact", "target", "precision"),
            *("threads", "batch", "device", "grade", "measured", "model_sha256"),
            *(column.name for column in SPEED),
            *("p99_low_ms", "p99_high_ms", "samples", "streams"),
            *("protocol", "dataset", "dataset_digest", "images"),
            *(column.name for column in ACCURACY),
            *("absrel_low", "absrel_high", "delta1_low", "delta1_high", "reason"),
        ]
    )
    for entry in story.entries:
        for score in entry.scores or (None,):
            writer.writerow([_cell(value) for value in [*_speed(entry), *_accuracy(score), entry.row.reason]])
    return stream.getvalue()


def _speed(entry: Entry) -> list[object]:
    row, latency = entry.row, entry.row.latency
    timing = None if latency is None else latency.infer.timing
    return [
        *(entry.run, entry.device, row.name, row.target, row.precision),
        *(entry.settings.get(name) for name in ("threads", "batch", "device")),
        None if latency is None else latency.infer.grade.letter,
        *(entry.created, row.model),
        *(column.value(row) for column in SPEED),
        *((None, None, None) if timing is None else (timing.p99_low, timing.p99_high, timing.samples)),
        None if row.throughput is None else row.throughput.streams,
    ]


def _accuracy(score: Evaluation | None) -> list[object]:
    if score is None:
        return [None] * (4 + len(ACCURACY) + 4)
    return [
        *(score.protocol, score.dataset, score.digest, score.images),
        *(column.value(score) for column in ACCURACY),
        *(end for metric in ("absrel", "delta1") for end in score.interval(metric) or (None, None)),
    ]


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str) and value.startswith(_RISKY):
        return f"'{value}"
    return value
