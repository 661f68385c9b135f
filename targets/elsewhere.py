"""Artefacts that do not run here: they were built for another machine, or without a device."""

from __future__ import annotations

from dataclasses import dataclass

from targets import get_target
from targets.artefact import rebuild_command
from targets.base import Artefact

__all__ = ["Elsewhere", "why_elsewhere"]


@dataclass(frozen=True)
class Elsewhere:
    """Why an artefact only runs elsewhere, and how to fix that."""

    reason: str
    fix: str
    missing: bool  # this machine lacks the runtime or the device


def why_elsewhere(artefact: Artefact) -> Elsewhere | None:
    """Why the artefact only runs elsewhere; None where it runs here."""
    if artefact.can_run_here:
        return None
    if get_target(artefact.target).status().can_run:
        fix = f"Rebuild it for this one: {rebuild_command(artefact)}"
        return Elsewhere("built on a machine without the device", fix, missing=False)
    fix = artefact.device_command or "Copy the run to the device"
    return Elsewhere("built for a device other than this machine", fix, missing=True)
