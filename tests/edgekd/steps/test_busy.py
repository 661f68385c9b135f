"""Training beside other programs says what would make it faster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from notes import Notes

torch = pytest.importorskip("torch", reason="it is PyTorch whose threads are looked at")

from edgekd.bench.conditions import read_conditions  # noqa: E402
from edgekd.steps import busy  # noqa: E402
from edgekd.steps.busy import remark_on_others  # noqa: E402


def said(others: float | None, threads: int, monkeypatch: pytest.MonkeyPatch, device: str = "cpu") -> list[str]:
    """The notes on a machine of four cores of which other programs keep `others` busy, over one second."""
    monkeypatch.setattr(busy, "_LOOK", 0.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    reading = replace(read_conditions(gpus=tuple), cores=4, own=0.0, when=0.0, busy=None if others is None else 0.0)
    readings: Iterator[object] = iter([reading, replace(reading, when=1.0, busy=others)])
    notes = Notes()
    remark_on_others(torch.device(device), notes, lambda: next(readings))  # type: ignore[arg-type, return-value]
    return notes.said


def test_more_threads_than_cores_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    (note,) = said(2.1, 4, monkeypatch)
    assert note.startswith("Other programs keep 2.1 of 4 cores busy") and "OMP_NUM_THREADS=2 " in note
    (note,) = said(4.0, 4, monkeypatch)
    assert "OMP_NUM_THREADS=1 " in note


def test_nothing_is_said_where_nothing_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not said(0.2, 4, monkeypatch)
    assert not said(2.1, 2, monkeypatch)
    assert not said(3.0, 1, monkeypatch)
    assert not said(None, 4, monkeypatch)
    assert not said(4.0, 4, monkeypatch, device="cuda")
