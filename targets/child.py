"""A Python child process that imports what this one imports, and nothing from the user's current folder."""

from __future__ import annotations

import sys

__all__ = ["python"]


def python(script: str, *arguments: str) -> list[str]:
    """The command that runs `script` with `sys` imported and `arguments` as sys.argv[1:].

    `python -c` and `python -m` import from the current folder first, which may hold a tensorrt.py or a targets.py.
    """
    return [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}\n{script}", *arguments]
