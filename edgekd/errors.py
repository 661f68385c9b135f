"""Every error that edgekd raises on purpose; the tree is drawn in `calibration.errors`."""

from calibration.errors import (
    ArtefactError,
    BudgetError,
    DataError,
    DiskFullError,
    EdgekdError,
    FileError,
    MissingRuntimeError,
    ModelError,
    RunError,
    RunLockedError,
    UnknownNameError,
    UsageError,
)

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
