"""What is reported of a row: means, their spread, and how much of the gap it closes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

__all__ = ["SHOWN", "TEACHER", "Figures", "compared_seeds", "gap_closed", "mean", "with_spread"]

SHOWN = ("agreement", "delta1", "absrel")
TEACHER = "teacher"  # the row without a student
_LEAST_GAP = 0.01  # the same row differs by as much from one seed to the next


def mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def with_spread(values: list[float]) -> str:
    """Mean and sample standard deviation; one run has no spread."""
    return f"{mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


Figures = Mapping[str, Mapping[int, Mapping[str, float]]]
"""Figures by row, seed and name."""


def compared_seeds(figures: Figures, row: str, gap_from: str = "plain") -> set[int]:
    """The seeds that this row, plain distillation and the bound all have."""
    return set.intersection(*(set(figures.get(name, {})) for name in (row, gap_from, "same")))


def gap_closed(figures: Figures, row: str, key: str, gap_from: str = "plain") -> str:
    """(this - plain) / (same domain - plain) in `key`, over the seeds that all three rows have.

    A row with features is measured against the same bound as all others. Empty where there is no gap to speak of.
    """
    if row in (gap_from, "plain-cut", "same", "noise"):
        return ""
    seeds = compared_seeds(figures, row, gap_from)
    if not seeds:
        return ""
    this, plain, same = (mean(figures[name][seed][key] for seed in seeds) for name in (row, gap_from, "same"))
    return f"{(this - plain) / (same - plain):.2f}" if same - plain >= _LEAST_GAP else ""
