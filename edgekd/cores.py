"""The processor cores that this process may be scheduled on."""

from __future__ import annotations

import os

__all__ = ["allowed_cores"]


def allowed_cores() -> frozenset[int]:
    """The numbers of those cores. A container's quota may allow less time on them: see edgekd.bench.machine."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not available on macOS and Windows
        return frozenset(range(os.cpu_count() or 1))
