"""A Python process of ours that finds what this one finds, and nothing of the user's in the current folder."""

from __future__ import annotations

import sys

__all__ = ["python"]


def python(script: str, *arguments: str) -> list[str]:
    """The command that runs `script`, to which `sys` is known and in which `arguments` are sys.argv[1:].

    `python -c` and `python -m` import from the current folder first, where a tensorrt.py or a targets.py may lie.
    """
    return [sys.executable, "-c", f"import sys\nsys.path[:] = {sys.path!r}\n{script}", *arguments]
