"""build.sh: TensorRT's own command in place of Python, with the exact line for the version that is found."""

from __future__ import annotations

from collections.abc import Sequence

from targets.base import Precision
from targets.board.options import EngineOptions
from targets.board.trtexec import trtexec_line

__all__ = ["build_script"]

_FIND = """#!/bin/sh
# Builds the engines with trtexec instead of `python3 run.py`, which then uses them. Run it in the bundle's folder.
set -eu
cd "$(dirname "$0")"
trtexec=$(command -v trtexec || ls /usr/src/tensorrt/bin/trtexec 2>/dev/null || true)
if [ -z "$trtexec" ]; then
    echo "trtexec not found. On a Jetson: sudo apt install libnvinfer-bin" >&2
    exit 3
fi
# 8502 is 8.5.2, 100300 is 10.3.0: trtexec prints this in its first line, whatever its arguments.
number=$("$trtexec" --help 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9]*\\)\\].*/\\1/p' | head -n 1)
case "$number" in
    8???) major=8 ;;
    10????) major=10 ;;
    11????) major=11 ;;
    *) echo "TensorRT ${number:-unknown}: this script knows 8, 10 and 11; use python3 run.py" >&2; exit 1 ;;
esac
echo "TensorRT $number, $trtexec" >&2
failed=
mkdir -p engines
"""


_END = """if [ -n "$failed" ]; then
    echo "Not built:$failed" >&2
    exit 1
fi
echo "Next: python3 run.py"
"""


def build_script(models: Sequence[tuple[str, Precision]], size: tuple[int, int], options: EngineOptions) -> str:
    """The text of build.sh for ONNX files and their precisions, whose input is `size`."""
    cases, begin = [], [_FIND]
    for _, name in models:  # a failed build must leave no engine; a key belongs to an engine of run.py
        engine = f"engines/tensorrt-{name}.engine"
        begin.append(f"rm -f {engine} {engine}.key.json")
    for major in (8, 10, 11):
        lines = [
            trtexec_line('"$trtexec"', (major, 0), file, f"engines/tensorrt-{name}.engine", size, name, options)
            + f' || failed="$failed {name}"'  # the others may work: TensorRT 8 runs no fp32 on a DLA
            for file, name in models
        ]
        cases.append("\n".join([f"if [ $major = {major} ]; then", *(f"    {line}" for line in lines), "fi"]))
    return "\n".join([*begin, *cases, _END])
