"""Options that several verbs share, with the same name and help everywhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekd.cli.console import console

if TYPE_CHECKING:
    from targets.board.options import EngineOptions

__all__ = [
    "Architecture",
    "Device",
    "Engine",
    "Force",
    "Images",
    "Json",
    "Out",
    "Precisions",
    "RunName",
    "Seed",
    "Statistics",
    "Targets",
    "TeacherSpec",
    "Threads",
    "again",
    "engine_options",
    "repeated",
]


def _switch_json(wanted: bool) -> bool:
    console.json = wanted
    return wanted


RunName = Annotated[
    str | None,
    typer.Argument(metavar="[RUN]", help="A run: its folder or its name under runs/. Default: the newest."),
]
TeacherSpec = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="SPEC",
        help="rooms, fastdepth, a .onnx, a .pt or .safetensors with --architecture, hf:org/name, or module:factory; "
        "append @inverse for a network that outputs disparity.",
    ),
]
Statistics = Annotated[
    Path | None,
    typer.Option(
        "--statistics",
        metavar="FILE",
        help="From edgekd statistics, for a teacher without BatchNorm.",
        show_default=False,
    ),
]
Architecture = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Architecture of a teacher given as a weights file."),
]
Images = Annotated[
    str,
    typer.Option(metavar="SPEC", help="Number of rooms to simulate, or a folder of simulated images."),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="Where PyTorch runs: auto, cpu, cuda or cuda:N.")]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAME", help="onnxruntime, openvino, tensorrt, ...; repeat for several."),
]
Precisions = Annotated[
    list[str] | None, typer.Option("--precision", metavar="NAME", help="fp32, fp16 or int8; repeat for several.")
]
Json = Annotated[
    bool, typer.Option("--json", callback=_switch_json, help="Print the result as JSON, and nothing else, on stdout.")
]
Force = Annotated[bool, typer.Option("--force", help="Redo it even if nothing has changed.")]
Seed = Annotated[
    int, typer.Option(min=0, metavar="N", help="The same seed gives the same pictures, weights and batches.")
]
Threads = Annotated[int, typer.Option(min=1, max=256, metavar="N", help="CPU threads for the runtime.")]
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="OPTIONS",
        help="workspace=MIB,effort=0-5,tactics=A+B,version-compatible,hardware-compatible,dla=CORE,batch=N.",
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder of the run. Default: a folder in runs/.", show_default=False),
]


def engine_options(text: str | None) -> EngineOptions:
    """Parse --engine. Raises UsageError."""
    from targets.board.options import EngineOptions
    from targets.engine import explained

    with explained():
        return EngineOptions.parse(text or "")


def again(verb: str) -> str:
    """The command that recreates the run, for run.json: as it was given, with {run} in place of the run's folder."""
    words = iter(console.arguments[1:])
    kept = []
    for word in words:
        if word == "--out":
            next(words, None)
        elif not word.startswith("--out=") and word not in ("--force", "--json"):
            kept.append(word)
    return shlex.join(["edgekd", verb, *kept]) + " --out {run}"


def repeated(option: str, values: Iterable[str]) -> list[str]:
    """The words of a command that gives an option once for each value."""
    return [word for value in values for word in (option, value)]
