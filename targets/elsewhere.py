"""Artefacts that do not run here: they were built for another machine, or without a device."""

from __future__ import annotations

from targets import get_target
from targets.artefact import rebuild_command
from targets.base import Artefact

__all__ = ["why_elsewhere"]


def why_elsewhere(artefact: Artefact) -> tuple[str, str] | None:
    """Why the artefact only runs elsewhere, and how to fix that; None where it runs here."""
    if artefact.can_run_here:
        return None
    if get_target(artefact.target).status().can_run:
        return "built on a machine without the device", f"Rebuild it for this one: {rebuild_command(artefact)}"
    return "built for a device other than this machine", artefact.device_command or "Copy the run to the device"
