"""`edgekd preflight`: which TensorRT versions will build a model, without TensorRT installed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from calibration.wording import counted
from edgekd.cli.console import console
from edgekd.cli.options import Json
from edgekd.cli.tables import Table

__all__ = ["preflight"]


def preflight(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN|MODEL.onnx]...", help="ONNX files or a run. Default: the newest run."),
    ] = None,
    json: Json = False,
) -> None:
    """Say which TensorRT versions will build a model.

    Also says which nodes are refused, and why. Only the ONNX is read: TensorRT need not be installed.
    """
    from edgekd.steps.preflight import preflight_models

    found = preflight_models(models or [], console)
    value = [{"model": str(path), "verdicts": [asdict(verdict) for verdict in verdicts]} for path, verdicts in found]
    verdicts = [(path, verdict) for path, all_verdicts in found for verdict in all_verdicts]
    versions = list(dict.fromkeys(verdict.version for _, verdict in verdicts))
    rows = [(str(path), *(_word(len(v.findings)) for v in all_verdicts)) for path, all_verdicts in found]
    shown = [Table(("TensorRT", *versions), rows, caption="rtx: TensorRT for RTX")]
    # One row per node, for the newest version that refuses it: older versions tend to give the same reason.
    nodes = {
        (str(path), finding.node): (finding.node, finding.op, finding.reason, verdict.version)
        for path, verdict in verdicts
        for finding in verdict.findings
    }
    if nodes:
        shown.append(Table(("node", "op", "reason", "as of"), list(nodes.values())))
    console.result(value, *shown)
    files = [name for name in models or [] if name.endswith(".onnx")]
    if files:
        console.next_command("calibrate", "--teacher", files[0])
    else:
        console.next_command("bundle", *(models or [])[:1])


def _word(findings: int) -> str:
    return "builds" if not findings else f"no: {counted(findings, 'node')}"
