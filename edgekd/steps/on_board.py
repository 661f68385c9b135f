"""Exporting on the board itself: a bundle of the run goes there over ssh, builds, and its result comes back."""

from __future__ import annotations

import shlex

from calibration.progress import Progress
from edgekd.remote import Board, Deployment, deploy
from edgekd.run import Run
from edgekd.steps.bundle import BundleSettings, bundle_run

__all__ = ["SECONDS", "export_on"]

SECONDS = 5.0
"""How long each model's latency is measured there, at least."""


def export_on(run: Run, address: str, settings: BundleSettings, progress: Progress) -> Deployment:
    """Bundle, copy, build, test and measure there; keeps the result and the engines in boards/<address>/ of the run.

    Raises what bundling and `edgekd.remote.deploy` raise.
    """
    board = Board(address)
    board.ask("true")  # is it there? Before minutes of building
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
