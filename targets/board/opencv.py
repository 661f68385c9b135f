"""OpenCV, where it is installed: for cameras, videos and pictures other than PNG."""

from __future__ import annotations

from typing import Any

from targets.board.errors import MissingError

__all__ = ["import_opencv"]


def import_opencv() -> Any:
    """OpenCV, or None where it is not installed. Raises MissingError where it is installed but fails to load."""
    try:
        import cv2
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name in (None, "cv2"):
            return None
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        numpy = "numpy" in reason  # JetPack's OpenCV was built for numpy 1
        raise MissingError(
            f"OpenCV is installed but fails to load ({reason})",
            "pip install 'numpy<2', or use the newer numpy in a virtual environment" if numpy else "Reinstall it",
        ) from error
    return cv2
