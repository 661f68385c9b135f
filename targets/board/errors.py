"""The known errors on a board: one line that says what is wrong and how to fix it."""

from __future__ import annotations

import re

__all__ = ["BoardError", "InputError", "MisfitError", "MissingError", "RefusedError", "SelfTestError"]


_COMMAND = r": (edgekd|'[^']*python[^']*'|\S*python[\d.]*|sudo|pip) \S[^:]*$"


class BoardError(Exception):
    """A known error: `message` says what is wrong and where, `fix` how to fix it."""

    exit_code = 1

    def __init__(self, message: str, fix: str) -> None:
        self.message, self.fix = message.rstrip(". "), fix.rstrip(". ")
        command = re.search(_COMMAND, self.fix)  # users copy it: a full stop after it would be copied too
        super().__init__(f"{self.message}. {self.fix}" + ("" if command else "."))


class MissingError(BoardError):
    """A runtime, driver or device that is missing."""

    exit_code = 3


class MisfitError(BoardError):
    """A file that is missing, altered, or of another version, device or model."""


class RefusedError(BoardError):
    """A model that the runtime does not build or run."""


class InputError(BoardError):
    """A picture or an argument that cannot be used."""

    exit_code = 2


class SelfTestError(BoardError):
    """Depth that differs from what it was where the bundle was made."""
