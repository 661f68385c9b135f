"""Runs the TensorRT pre-flight on ONNX files, or on a run's models for TensorRT."""

from __future__ import annotations

from pathlib import Path

from calibration.errors import FileError, ModelError
from calibration.progress import Progress
from edgekd.run import find_run
from edgekd.steps.artefacts import run_model
from targets.preflight import Verdict, preflight

__all__ = ["preflight_models"]


def preflight_models(names: list[str], progress: Progress) -> list[tuple[Path, tuple[Verdict, ...]]]:
    """Each model's verdicts. A name is an ONNX file or a run; no name means the newest run.

    Raises FileError or ModelError for a file that is not an ONNX model, and what finding a run raises.
    """
    paths: list[Path] = []
    for name in names or [""]:
        if name.endswith(".onnx"):
            paths.append(Path(name))
        else:
            run = find_run(name or None, progress)
            made = sorted(run.folder.glob("artefacts/tensorrt-[fi]*/model.onnx"))
            paths += made or [run_model(run)]
    return [(path, _judged(path)) for path in paths]


def _judged(path: Path) -> tuple[Verdict, ...]:
    model = _load(path)
    try:
        return preflight(model)
    except (IndexError, KeyError, TypeError, ValueError) as error:  # nodes without outputs, types that do not exist
        raise ModelError(f"{path} is not a valid ONNX model ({error!r})", fix="Export it again") from error


def _load(path: Path):  # type: ignore[no-untyped-def]  # onnx has no types
    import onnx

    try:
        return onnx.load_model(path)
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror}", fix="Check the path") from error
    except Exception as error:  # protobuf raises its own errors
        raise ModelError(f"{path} is not an ONNX model ({error})", fix="Export it again") from error
