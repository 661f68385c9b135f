"""Tells a model's file from what is often found in its place."""

from __future__ import annotations

from pathlib import Path

from calibration.errors import FileError

__all__ = ["refuse_other_files"]


def refuse_other_files(path: Path) -> None:
    """Raise FileError when `path` is missing, empty, a git-lfs pointer or a web page instead of a model."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror}", fix="Check the path and its permissions") from error
    if not head:
        raise FileError(f"{path} is empty", fix="Copy or download the file again")
    if head.startswith(b"version https://git-lfs"):
        raise FileError(f"{path} is a git-lfs pointer, not the model", fix="Run git lfs pull in its repository")
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise FileError(f"{path} is a web page, not a model", fix="Download the file itself, not its web page")
