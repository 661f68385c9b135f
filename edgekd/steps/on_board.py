"""Exports on the board itself: copies a bundle of the run there over SSH, builds it, and fetches the result."""

from __future__ import annotations

import shlex

from calibration.progress import Progress
from edgekd.remote import Board, Deployment, deploy
from edgekd.run import Run
from edgekd.steps.bundle import BundleSettings, bundle_run

__all__ = ["SECONDS", "export_on"]

SECONDS = 5.0
"""Minimum time for which each model's latency is measured on the board."""


def export_on(run: Run, address: str, settings: BundleSettings, progress: Progress) -> Deployment:
    """Bundle the run, then copy, build, test and measure on the board; keeps result and engines in boards/<address>/.

    Raises what bundling and `edgekd.remote.deploy` raise.
    """
    board = Board(address)
    board.ask("true")  # fail before minutes of building if the board cannot be reached
    written = bundle_run(run, settings, progress)
    arguments = ["--seconds", str(SECONDS)]
    if len(settings.targets) == 1:
        arguments += ["--runtime", settings.targets[0]]
    if len(settings.precisions) == 1:
        arguments += ["--precision", settings.precisions[0]]
    kept = run.folder / "boards" / board.name
    found = deploy(board, written.archive, written.digest, tuple(arguments), kept, progress)
    with run.lock(progress):
        asked = {"on": address, "arguments": arguments}
        inputs = {"bundle": written.digest}
        command = f"edgekd export {{run}} --on {shlex.quote(address)}{settings.options()}"
        with run.step(f"on {board.name}", inputs=inputs, asked=asked, command=command) as made:
            made.add(kept)
    return found
