"""The one place that imports PyAV (FFmpeg's libraries), and what its errors mean."""

from __future__ import annotations

from types import ModuleType

from calibration.errors import MissingRuntimeError

__all__ = ["import_av", "reason"]

_OLDEST = 15  # before, frames do not say how they are to be turned (14.0) or how long they are shown (14)


def import_av() -> ModuleType:
    """The module `av`. Raises MissingRuntimeError."""
    try:
        import av
    except ImportError as error:
        raise MissingRuntimeError(
            f"Videos and cameras need PyAV ({error})", fix='Install it: pip install "edgekd[video]"'
        ) from error
    if int(av.__version__.partition(".")[0]) < _OLDEST:
        raise MissingRuntimeError(
            f"Videos and cameras need PyAV {_OLDEST} or newer; {av.__version__} is installed",
            fix='Upgrade it: pip install --upgrade "av>=15"',
        )
    av.logging.set_level(None)  # FFmpeg would report every damaged block on standard error
    return av  # type: ignore[no-any-return]


def reason(error: Exception) -> str:
    """What FFmpeg said, without number and path."""
    words = getattr(error, "strerror", None) or str(error)
    return (words.strip().splitlines() or [type(error).__name__])[0].rstrip(".")
