"""`edgekd verify`: whether files are intact and, if not, which are damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekd.cli.console import console
from edgekd.cli.options import Json
from edgekd.cli.tables import Table

__all__ = ["verify"]


def verify(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]",
            help="A run, a bundle or its .tar.gz, an artefact, a set of images, a .safetensors. Default: the newest "
            "run.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check files against their digests and name the damaged ones.

    Digests show damage. To detect tampering, compare the printed digest with one
    from a trusted source.
    """
    from edgekd.steps.verify import verify as look

    found = look(what, console)
    value = {
        "kind": found.kind,
        "path": str(found.path),
        "whole": found.whole,
        "files": found.files,
        "digest": found.digest,
        "faults": [{"fault": fault.message, "fix": fault.fix} for fault in found.faults],
    }
    outcome = "intact" if found.whole else f"NOT INTACT: {len(found.faults)}"
    rows = [
        (found.kind, str(found.path)),
        ("files", str(found.files)),
        ("sha256", found.digest),
        ("outcome", outcome),
        *(("", fault.message) for fault in found.faults),
    ]
    console.result(value, Table(("verified", ""), rows))
    found.raise_faults()
    if found.kind == "run":
        console.next_command(*_after(found.path))
    else:
        console.next_command("doctor")


def _after(path: Path) -> tuple[str | Path, ...]:
    from edgekd.run import Run
    from edgekd.steps.artefacts import exported_names

    return ("bench" if exported_names(Run.open(path)) else "export", path)
