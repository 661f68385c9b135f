"""Detects other programs that slow down training on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from calibration.progress import Progress
from edgekd.bench.conditions import Reading, read_conditions
from edgekd.bench.watch import Watch

__all__ = ["remark_on_others"]

_LOOK = 0.5  # seconds of watching
_MUCH = 0.5  # share of a core


def _read() -> Reading:
    return read_conditions(gpus=tuple)  # no GPU is queried: only the CPU counts here


def remark_on_others(device: torch.device, progress: Progress, read: Callable[[], Reading] = _read) -> None:
    """Note when PyTorch has more threads than there are free cores.

    The threads busy-wait for the slowest of them: training that takes a few minutes takes half an hour beside a
    program that keeps one of two cores busy.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        return
    watch = Watch(read)
    time.sleep(_LOOK)
    others = watch.conditions().others
    if others is None or others < _MUCH:
        return
    free = max(1, int(watch.cores - others + _MUCH))
    if free < threads:
        progress.note(
            f"Other programs keep {others:.1f} of {watch.cores} cores busy, and PyTorch's {threads} threads wait for "
            f"each other: OMP_NUM_THREADS={free} before the command makes it faster for now (Ctrl-C keeps finished "
            "work)"
        )
