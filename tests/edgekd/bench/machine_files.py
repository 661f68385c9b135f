"""Writes a recorded machine as files below a folder."""

from __future__ import annotations

from pathlib import Path

RECORDED = Path(__file__).parent / "machines"


def write(root: Path, files: dict[str, str]) -> Path:
    """Writes files, given by their paths below `root`, and returns `root`."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def recorded(name: str) -> dict[str, str]:
    """The files of a recorded machine, by path."""
    files = {}
    for line in (RECORDED / f"{name}.txt").read_text().splitlines():
        path, _, value = line.partition(" = ")
        files[path] = value.replace("\\n", "\n").replace("\\t", "\t").replace("\\0", "\0")
    return files
