"""What errors that are not ours say, in a line that one of ours can quote."""

from __future__ import annotations

__all__ = ["first_line"]


def first_line(error: BaseException) -> str:
    """What an error says first, or its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
