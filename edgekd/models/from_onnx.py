"""Loads a teacher from an ONNX file."""

from __future__ import annotations

from pathlib import Path

from calibration.progress import Progress
from edgekd.models.freeze import freeze
from edgekd.models.input_file import stated_input
from edgekd.models.onnx_import import import_onnx
from edgekd.models.onnx_import.file import digest_onnx
from edgekd.models.teacher import Teacher
from targets.input import Framing, InputSpec

__all__ = ["onnx_teacher"]


def onnx_teacher(
    path: Path,
    name: str,
    progress: Progress,
    *,
    input: InputSpec | None = None,  # noqa: A002 - the field's own name
    source: str | None = None,
) -> Teacher:
    """Import a network. Its input is `input`, or <file>.input.json, or the graph's size without normalisation.

    Raises FileError or ModelError.
    """
    stated = input or stated_input(path)
    network = import_onnx(path, size=None if stated is None else (stated.height, stated.width))
    if stated is None:
        stated = InputSpec(Framing(network.height, network.width))
        progress.note(
            f"{path.name} does not say how its pictures are normalised: RGB from 0 to 1 at {network.height}x"
            f"{network.width} is assumed; {path.name}.input.json beside it overrides this"
        )
    for remark in network.remarks:
        progress.note(f"{path.name}: {remark}")
    source = source or f"the ONNX network {path}"
    return freeze(Teacher(name, network.module, stated, digest_onnx(path), source), progress)
