"""The one exception tree of edgekd. It lives in the lowest package so that all three can raise from it.

    EdgekdError                 exit code 1
    ├── UsageError              2   an invalid argument
    │   └── UnknownNameError    2   a target, teacher, student or protocol that is not in its table
    ├── MissingRuntimeError     3   a runtime, device or extra that is not installed
    ├── BudgetError             4   built and kept, but the accuracy budget was not met
    ├── FileError               1   a file that is missing, truncated, altered or cannot be written
    │   └── DiskFullError       1
    ├── ModelError              1   a teacher or ONNX model that cannot be used
    ├── DataError               1   pictures or depth that cannot be used
    ├── ArtefactError           1   an artefact that does not fit this machine, model or version
    └── RunError                1   a run folder that is locked, altered or incomplete
        └── RunLockedError      1

A known error is one line: what is wrong, where, and the command or change that fixes it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import ClassVar

__all__ = [
    "ArtefactError",
    "BudgetError",
    "DataError",
    "DiskFullError",
    "EdgekdError",
    "FileError",
    "MissingRuntimeError",
    "ModelError",
    "RunError",
    "RunLockedError",
    "UnknownNameError",
    "UsageError",
]


_COMMAND = re.compile(r"(^|^Run |: )(edgekd|pip|sudo|cd|python3?|trtexec|tensorrt_rtx|ssh|ssh-copy-id) \S")
"""Finds the command in a fix. It runs to the end of the fix and may contain colons: hf:org/name, user@board:22."""


class EdgekdError(Exception):
    """A known error. `message` says what is wrong and where; `fix` says how to fix it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, fix: str) -> None:
        message, fix = (" ".join(part.split("\n")) if "\n" in part else part for part in (message, fix))
        self.message = message.rstrip(". ")
        command = _COMMAND.search(fix) is not None  # users copy it: a full stop after it would be copied too
        self.fix = fix.rstrip() if command else fix.rstrip(". ")
        end = "" if command or self.fix.endswith("?") else "."
        super().__init__(f"{self.message}. {self.fix}{end}" if self.fix else f"{self.message}.")

    def __reduce__(self) -> tuple[object, ...]:
        # The default would call the class with the joined text and lose `fix`; workers send errors between processes.
        return (_rebuild, (type(self), self.message, self.fix))


def _rebuild(kind: type[EdgekdError], message: str, fix: str) -> EdgekdError:
    error = kind.__new__(kind)
    EdgekdError.__init__(error, message, fix=fix)
    return error


class UsageError(EdgekdError):
    """An invalid argument."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that is not in its table; the message lists close matches. `or_else` is another way than a name."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, or_else: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        fix = f"Did you mean {' or '.join(near)}?" if near else f"Choose one of: {', '.join(names)}"
        if or_else:
            fix += f" Or {or_else}" if near else f"; or {or_else}"
        super().__init__(f"There is no {kind} named {name!r}", fix=fix)


class MissingRuntimeError(EdgekdError):
    """A runtime, device or optional dependency that is missing."""

    exit_code = 3


class BudgetError(EdgekdError):
    """Built and kept, but the accuracy budget was not met."""

    exit_code = 4


class FileError(EdgekdError):
    """A file that is missing, truncated, altered or cannot be written."""


class DiskFullError(FileError):
    """No space left while writing."""


class ModelError(EdgekdError):
    """A teacher or ONNX model that cannot be used."""


class DataError(EdgekdError):
    """Pictures or depth that cannot be used."""


class ArtefactError(EdgekdError):
    """An artefact that does not fit this machine, model or version."""


class RunError(EdgekdError):
    """A run folder that is altered or incomplete."""


class RunLockedError(RunError):
    """A run folder that another process is writing."""
