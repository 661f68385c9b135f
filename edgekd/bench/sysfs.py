"""Reading the small files of /proc and /sys, any of which may be missing, unreadable or odd."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["each", "field", "number", "text"]


def text(path: Path) -> str | None:
    """The file's text, or None when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return None


def number(path: Path) -> float | None:
    """The number that the file holds, or None."""
    try:
        return float((text(path) or "").strip())
    except ValueError:
        return None


def field(info: str, name: str) -> str | None:
    """The first value of `name` in text of lines such as `name : value`."""
    for line in info.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.strip() == name:
            return value.strip()
    return None


def each(root: Path, pattern: str) -> Iterable[Path]:
    """The files that match, in order; none when the folder cannot be read."""
    try:
        return sorted(root.glob(pattern))
    except OSError:
        return []
