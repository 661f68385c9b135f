"""Shows what a run contains."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from edgekd.cli.console import console
from edgekd.cli.tables import Table, size_text

if TYPE_CHECKING:
    from edgekd.run import Run

__all__ = ["show_made"]


def show_made(run: Run, steps: tuple[str, ...]) -> None:
    """Show the files that these steps made; a folder of files is one row."""
    rows = []
    for name in steps:
        record = run.manifest.steps[name]
        groups: dict[str, list[int]] = {}
        for path, file in record.outputs.items():
            groups.setdefault(f"{path.split('/')[0]}/" if path.count("/") else path, []).append(file.size)
        for path, sizes in groups.items():
            rows.append((path, str(len(sizes)), size_text(sum(sizes))))
    value = {
        "run": str(run.folder),
        "steps": {name: asdict(run.manifest.steps[name]) for name in steps},
    }
    console.result(value, Table((str(run.folder), "files", "size"), rows, right=(1, 2)))
