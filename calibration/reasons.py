"""What errors that are not ours say, in a line that one of ours can quote."""

from __future__ import annotations

import re

__all__ = ["first_line", "out_of_memory"]

_NO_MEMORY = re.compile(
    "can't allocate memory|cannot allocate memory|failed to allocate memory|out of memory"
    "|bad_alloc|bad allocation|can't start new thread|alloc_failed|out_of_memory"
    "|failed to map segment|returned null without setting an exception"
    "|could not create a primitive(?! descriptor)"  # a descriptor lacks for a type or shape that is not computed
)
"""How torch, ONNX Runtime, the system, CUDA, C++, threads, cuBLAS, the loader, Python and oneDNN say so."""


def first_line(error: BaseException) -> str:
    """What an error says first, or its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, of the machine or of a GPU: many libraries say so in errors of other types."""
    return isinstance(error, MemoryError) or _NO_MEMORY.search(str(error).lower()) is not None
