"""What earlier builds on this device leave for the next: TensorRT's timing cache, and how long a build took."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from pathlib import Path

from targets.board.errors import BoardError
from targets.board.files import read_bytes, write_bytes
from targets.board.key import EngineKey

__all__ = ["Timings", "cache_folder"]


def cache_folder() -> str:
    """Where timings are kept: EDGEKD_CACHE, else the user's cache folder. Without a home, nothing can be kept there."""
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        return str(Path(os.environ.get("EDGEKD_CACHE") or caches / "edgekd").expanduser() / "tensorrt")
    except (KeyError, RuntimeError):  # no home: Python 3.8 raises the first, 3.9 and later the second
        return os.devnull


class Timings:
    """The timings of one device, TensorRT version and set of options: a cache of any other is useless."""

    def __init__(self, folder: str, key: EngineKey) -> None:
        words = (key.runtime, key.version, key.device or "none", key.capability or "", json.dumps(dict(key.options)))
        self._stem = str(Path(folder) / re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(words)).strip("-"))
        self._model = key.model
        self._seconds: dict[str, list[float]] = {}  # a model's digest to its size in bytes and the seconds it took
        self.cache = self._read(".cache")
        with suppress(ValueError, TypeError, AttributeError):  # damaged: it is only a cache
            kept = json.loads(self._read(".json") or b"{}")
            self._seconds = {str(model): [float(size), float(took)] for model, (size, took) in kept.items()}

    def _read(self, suffix: str) -> bytes:
        try:
            return read_bytes(self._stem + suffix, "")
        except BoardError:
            return b""

    def estimate(self, size: int) -> float | None:
        """Seconds that building a model of `size` bytes may take, by its last build or by those of other models."""
        if self._model in self._seconds:
            return self._seconds[self._model][1]
        rates = sorted(took / taken for taken, took in self._seconds.values() if taken)
        return rates[len(rates) // 2] * size if rates else None

    def keep(self, cache: bytes, size: int, seconds: float) -> None:
        """Keep a build's cache and time. A cache that cannot be written only costs time, so that is no error."""
        self._seconds[self._model] = [size, round(seconds, 2)]
        with suppress(BoardError):
            if cache:
                write_bytes(self._stem + ".cache", cache)
            write_bytes(self._stem + ".json", (json.dumps(self._seconds) + "\n").encode())
