"""A Progress whose notes a test can read."""

from __future__ import annotations

from calibration.progress import Quiet

__all__ = ["Notes"]


class Notes(Quiet):
    """A Progress that records its notes."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)
