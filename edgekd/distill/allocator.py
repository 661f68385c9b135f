"""Keep glibc from handing every large tensor back to the kernel after each step."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed blocks; returns whether it was told (False on other C libraries).

    By default blocks over 128 kB to 32 MB are mapped and unmapped at each use, and a training step on a CPU spends
    most of its time in page faults; the fused BatchNorm of `observe` takes half as long with this.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30) and mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1))
