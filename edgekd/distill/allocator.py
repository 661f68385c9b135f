"""Keep glibc from handing every large tensor back to the kernel after each step."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks; returns whether it accepted (False with other C libraries).

    By default glibc maps and unmaps blocks above a threshold (128 kB, rising to 32 MB) at each use, and a training
    step on a CPU spends most of its time in page faults. With this, the fused BatchNorm of `observe` takes half the
    time.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
