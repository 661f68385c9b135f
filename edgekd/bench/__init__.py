"""Latency and accuracy of artefacts on this machine, and how far the latency can be trusted. See README.md."""

from __future__ import annotations

from edgekd.bench.bench import BenchSettings, Clip, Scoring, bench
from edgekd.bench.latency import Latency, measure_latency
from edgekd.bench.machine import describe_machine
from edgekd.bench.result import BenchResult, BenchRow
from edgekd.bench.table import bench_table

__all__ = [
    "BenchResult",
    "BenchRow",
    "BenchSettings",
    "Clip",
    "Latency",
    "Scoring",
    "bench",
    "bench_table",
    "describe_machine",
    "measure_latency",
]
