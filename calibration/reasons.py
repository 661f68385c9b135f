"""What errors that are not ours say, in a line that one of ours can quote."""

from __future__ import annotations

__all__ = ["first_line", "out_of_memory"]

_NO_MEMORY = (
    *("can't allocate memory", "cannot allocate memory", "failed to allocate memory", "out of memory"),
    *("bad_alloc", "bad allocation", "can't start new thread", "alloc_failed", "out_of_memory"),
    *("could not create a primitive", "failed to map segment", "returned null without setting an exception"),
)
"""How torch, ONNX Runtime, the system, CUDA, C++, threads, cuBLAS, oneDNN, the loader and Python say so."""


def first_line(error: BaseException) -> str:
    """What an error says first, or its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, of the machine or of a GPU: many libraries say so in errors of other types."""
    return isinstance(error, MemoryError) or any(said in str(error).lower() for said in _NO_MEMORY)
