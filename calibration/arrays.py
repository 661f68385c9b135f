"""Reading NumPy files from untrusted sources: no pickle is run, no declared size is trusted."""

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

    Raises FileError for anything else, including an array of Python objects.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about headers written by Python 2
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header can fail anywhere in numpy's reader or in ast.literal_eval
        raise FileError(f"{path} is truncated or not a NumPy array ({error})", fix=fix) from error
    if not isinstance(array, np.ndarray):
        raise FileError(f"{path} is an archive, not one NumPy array", fix=fix)
    return array
