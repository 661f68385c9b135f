"""The cause of a library's error, told from its message."""

from __future__ import annotations

import pytest

from calibration.reasons import first_line, out_of_memory


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "could not create a primitive",
        "std::bad_alloc",
        "cuBLAS error: CUBLAS_STATUS_ALLOC_FAILED",
    ],
)
def test_memory_that_ends_is_told_in_many_ways(said: str) -> None:
    assert out_of_memory(RuntimeError(said))


@pytest.mark.parametrize(
    "said",
    [
        "could not create a primitive descriptor for a convolution forward propagation primitive",
        "expected input[1, 4, 8, 8] to have 3 channels",
    ],
)
def test_what_is_not_computed_is_no_lack_of_memory(said: str) -> None:
    assert not out_of_memory(RuntimeError(said))
    assert out_of_memory(MemoryError())


def test_an_error_that_says_nothing_is_called_by_its_class() -> None:
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("first\nsecond")) == "first"
