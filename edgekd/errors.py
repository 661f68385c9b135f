"""Every error that edgekd raises on purpose. `calibration.errors` shows the class hierarchy."""

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
