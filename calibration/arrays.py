"""Reading NumPy files that may have come from anywhere: no pickle is run, no declared size is believed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import FileError

__all__ = ["read_array"]


def read_array(path: Path, *, fix: str) -> NDArray[Any]:
    """The array of a .npy file, memory-mapped and read-only; mapping fails where the file is shorter than it declares.

    Raises FileError for anything else, an array of Python objects among it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header fails anywhere in numpy's reader, or in Python's own of literals
        raise FileError(f"{path} is truncated or no NumPy array ({error})", fix=fix) from error
    if not isinstance(array, np.ndarray):
        raise FileError(f"{path} is an archive, not one NumPy array", fix=fix)
    return array
