"""Fuzzes every parser in a process of its own, and counts forbidden errors, hangs and excess memory."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from parsers import PARSERS
from table import Row

__all__ = ["fuzz_campaign"]

_SCRIPT = Path(__file__).with_name("fuzz.py")
_MOST_MB = 1024


def fuzz_campaign(inputs: int, seed: int, parsers: tuple[str, ...], *, guided: bool = True) -> list[Row]:
    """`inputs` for each parser; without names all of them. Says so where they cannot be guided."""
    if guided and importlib.util.find_spec("atheris") is None:
        print('atheris is not installed: mutating without coverage (pip install -e ".[all,fuzz]")', file=sys.stderr)
    return [_row(_fuzzed(parser, inputs, seed, guided)) for parser in parsers or PARSERS]


def _fuzzed(parser: str, inputs: int, seed: int, guided: bool) -> dict[str, Any]:
    command = [sys.executable, str(_SCRIPT), "--parser", parser, "--inputs", str(inputs), "--seed", str(seed)]
    done = subprocess.run(command if guided else [*command, "--unguided"], capture_output=True, text=True, check=False)
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):  # the process itself died
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        fault = {f"ended with {done.returncode}: {last}": ""}
        found = {"parser": parser, "inputs": 1, "failed": 1, "hangs": 0, "accepted": 0, "slowest": 0.0}
        found |= {"base_mb": 0, "peak_mb": 0, "faults": fault}
    for fault, data in found["faults"].items():
        print(f"{parser}: {fault} {data}", file=sys.stderr, flush=True)
    return found


def _row(found: dict[str, Any]) -> Row:
    lost = found["failed"] + found["hangs"] + (found["peak_mb"] > _MOST_MB)
    about = (
        f"{found['parser']}: {found['accepted']:,} accepted, slowest {found['slowest']:.1f} s, "
        f"{found['base_mb']} to {found['peak_mb']} MB"
    )
    row = Row(about, found["inputs"], found["inputs"] - lost, lost)
    print(row, file=sys.stderr, flush=True)
    return row
