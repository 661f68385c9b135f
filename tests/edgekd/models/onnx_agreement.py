"""Agreement of the importer with onnxruntime, and constants for hand-written networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx_graphs import save

from edgekd.models.onnx_import import import_onnx

ORT_VERSION = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
"""Older versions depart from the standard in a few places; the tests of these are skipped with them."""

DRAW = np.random.default_rng(7)


def weights(*shape: int) -> np.ndarray:
    return DRAW.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def agree(
    model: Any, folder: Path, *, size: tuple[int, int] = (12, 16), atol: float = 1e-5, least: float = 0.01
) -> torch.nn.Module:
    """Compares the import's output for a batch of two pictures (values `least` to 1) with onnxruntime's for each."""
    path = save(model, folder / "net.onnx")
    pictures = np.random.default_rng(3).uniform(least, 1, (2, 3, *size)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # onnxruntime's idle threads spin on cores that other tests need
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    expected = np.concatenate([session.run(None, {"x": picture[None]})[0] for picture in pictures])
    module = import_onnx(path).module
    got = module(torch.from_numpy(pictures))
    assert tuple(got.shape) == expected.shape
    np.testing.assert_allclose(got.numpy(), expected, atol=atol, rtol=1e-4)
    return module
