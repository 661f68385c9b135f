"""`edgekd doctor`: what this machine can do, and how to fix the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.cli.console import console
from edgekd.cli.options import Json
from edgekd.cli.tables import Table, size_text

if TYPE_CHECKING:
    from edgekd.steps.doctor import Examination
    from edgekd.steps.jetson import Jetson
    from targets.base import Status

__all__ = ["doctor"]


def doctor(json: Json = False) -> None:
    """Show what this machine can do, and how to fix the rest."""
    from edgekd.steps.doctor import examine

    found = examine(console)
    boards = [] if found.jetson is None else [_jetson(found.jetson)]
    console.result(found.to_json(), _machine(found), *boards, _targets(found), *_fixes(found))
    trains = not found.extras[0].missing
    console.next_command("demo" if trains else "bench")


def _machine(found: Examination) -> Table:
    rows = [
        ("edgekd", f"{found.edgekd}, Python {found.python}"),
        ("system", found.system),
        ("cores", str(found.cores)),
        ("memory", "unknown" if found.memory is None else size_text(found.memory)),
        ("torch", found.torch),
    ]
    for space in found.spaces:
        free = "unknown" if space.free is None else f"{size_text(space.free)} free"
        rows.append((space.what, f"{space.path}, {free}"))
    return Table(("machine", ""), rows)


def _jetson(found: Jetson) -> Table:
    def of(value: str | None) -> str:
        return value or "not installed"

    free, total = (None if size is None else size_text(size) for size in (found.memory_free, found.memory))
    rows = [
        ("board", found.board),
        ("JetPack", f"{found.jetpack or 'unknown'} (Jetson Linux {found.linux})"),
        ("TensorRT", f"{of(found.tensorrt)}, for Python {of(found.tensorrt_python)}"),
        ("trtexec", of(found.trtexec)),
        ("CUDA", of(found.cuda)),
        ("power mode", f"{found.power_mode or 'unknown'} of {', '.join(found.power_modes) or 'unknown'}"),
        ("memory", f"{free or 'unknown'} free of {total or 'unknown'}"),
    ]
    return Table(("Jetson", ""), rows)


def _targets(found: Examination) -> Table:
    rows = [
        (
            name,
            _can(status),
            status.version or "-",
            ", ".join(status.precisions) or "-",
            ", ".join(status.devices) or "-",
        )
        for name, status in found.targets.items()
    ]
    return Table(("target", "can", "version", "precisions", "devices"), rows)


def _can(status: Status) -> str:
    can = [word for word, able in (("build", status.can_build), ("run", status.can_run)) if able]
    return " and ".join(can) or "nothing"


def _fixes(found: Examination) -> list[Table]:
    """What to fix. Reasons are whole sentences, so each goes above its fix, not beside it."""
    problems = [(name, status.missing, status.fix) for name, status in found.targets.items() if status.missing]
    if found.jetson is not None:
        problems += [(problem.what, problem.wrong, problem.fix) for problem in found.jetson.problems]
    extras = [extra for extra in found.extras if extra.missing]
    problems += [(extra.name, f"Missing: {', '.join(extra.missing)}", extra.fix) for extra in extras]
    rows = [(name, f"{what}\n> {fix or 'no known fix'}") for name, what, fix in problems]
    return [Table(("to fix", "what is wrong, and how to fix it"), rows)] if rows else []
