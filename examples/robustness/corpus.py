"""Makes small files for the corpora."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["as_json", "random_pixels", "saved_picture", "write_file"]


def write_file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def random_pixels(*shape: int, kind: type = np.uint8) -> Any:
    return np.random.default_rng(0).integers(0, 255, shape).astype(kind)


def saved_picture(kind: str, array: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()
