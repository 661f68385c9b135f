"""What third-party errors say, as one line that our own errors can quote."""

from __future__ import annotations

import errno
import re

__all__ = ["first_line", "make_room", "out_of_memory"]

_NO_MEMORY = re.compile(
    "can't allocate memory|cannot allocate memory|failed to allocate memory|out of memory"
    "|bad_alloc|bad allocation|can't start new thread|alloc_failed|out_of_memory"
    "|failed to map segment|returned null without setting an exception"
    "|could not create a primitive(?! descriptor)"  # the descriptor fails for an unsupported type or shape
)
"""How torch, ONNX Runtime, the system, CUDA, C++, threads, cuBLAS, the loader, Python and oneDNN report it."""


def first_line(error: BaseException) -> str:
    """The first line of an error, or its class where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def out_of_memory(error: BaseException | None) -> bool:
    """Whether the machine or a GPU ran out of memory, which many libraries report in errors of other types."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error).lower()) is not None


def make_room(number: int | None) -> str:
    """What to do where a file cannot grow, by the error's number: EFBIG is the limit of `ulimit -f`, or of a file
    system such as FAT32."""
    first = "Raise it (ulimit -f) or choose another disk" if number == errno.EFBIG else "Free some space"
    return f"{first} and run the same command again"
