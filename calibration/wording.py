"""Counts in messages: 1 frame, 2 frames."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: float, one: str, several: str | None = None) -> str:
    """A count and its noun, with the verb if that depends on it too; `several` is `one` with an s by default."""
    return f"{count if isinstance(count, int) else f'{count:g}'} {one if count == 1 else several or f'{one}s'}"
