"""Finished runs: kept on disk, made once, shared by processes."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from calibration.files import sha256_bytes

__all__ = ["Finished"]


class Finished:
    """Runs on disk, one JSON line each. The holder of a run's lock makes it; the lock ends with the process."""

    def __init__(self, path: Path) -> None:
        self._path, self._locks = path, path.with_suffix(".locks")

    @contextlib.contextmanager
    def claim(self, key: dict[str, Any]) -> Iterator[bool]:
        """Whether this run is ours to make: not finished, and no other process is making it."""
        name = sha256_bytes(json.dumps(key, sort_keys=True).encode())[:16]
        self._locks.mkdir(parents=True, exist_ok=True)
        with open(self._locks / name, "w", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield not any(key.items() <= row.items() for row in self.rows())

    def add(self, row: dict[str, Any]) -> None:
        there = self._path.read_bytes() if self._path.exists() else b""
        start = "" if not there or there.endswith(b"\n") else "\n"  # after a partial line left by a killed process
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(f"{start}{json.dumps(row)}\n")

    def rows(self) -> list[dict[str, Any]]:
        """All finished runs; those from before precision could be chosen get `auto`."""
        rows = []
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else []:
            with contextlib.suppress(json.JSONDecodeError):  # a partial line left by a killed process
                rows.append({"precision": "auto"} | json.loads(line))
        return rows
