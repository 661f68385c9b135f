"""Artefacts that do not run where they are: they were built for another machine, or before there was a device."""

from __future__ import annotations

from targets import get_target
from targets.artefact import rebuild_command
from targets.base import Artefact

__all__ = ["why_elsewhere"]


def why_elsewhere(artefact: Artefact) -> tuple[str, str] | None:
    """Why the artefact runs elsewhere alone, and what mends it; None where it runs here."""
    if artefact.can_run_here:
        return None
    if get_target(artefact.target).status().can_run:
        return "built where no device was", f"Build it for this one: {rebuild_command(artefact)}"
    return "built for another device than this machine", artefact.device_command or "Copy the run to the device"
