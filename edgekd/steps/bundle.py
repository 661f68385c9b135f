"""Makes a bundle of a run: its encodings, exported first if needed, and everything that runs them on a device."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from calibration.errors import UnknownNameError, UsageError
from calibration.files import remove_remains
from calibration.progress import Progress
from edgekd.run import Run
from edgekd.run.versions import versions
from edgekd.steps.artefacts import calibration_set, export_step, run_model
from edgekd.steps.export import ExportSettings, export_run
from targets import TARGETS
from targets.base import PRECISIONS, Artefact, Precision
from targets.board.options import EngineOptions
from targets.bundle.write import (
    BundleOptions,
    Encoding,
    WrittenBundle,
    require_nothing_predicted,
    require_place,
    write_bundle,
)
from targets.engine import explained
from targets.graph import read_graph

__all__ = ["BundleSettings", "bundle_run"]

_ENCODED_FOR = {
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt",
    "openvino": "onnxruntime",  # OpenVINO reads the same ONNX file
    "onnxruntime": "onnxruntime",
}
"""The target whose artefact holds the ONNX file that a runtime reads."""

_PRECISIONS: dict[str, tuple[Precision, ...]] = {"tensorrt": PRECISIONS, "onnxruntime": ("fp32", "int8")}
_MODEL = "model.onnx"
_PICTURES = 16  # held-out pictures among which the self-test's is chosen


@dataclass(frozen=True)
class BundleSettings:
    """What goes into the bundle. Empty `targets` mean every runtime, empty `precisions` all that a runtime has."""

    targets: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    camera: tuple[int, int] | None = None  # (height, width)
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        for name in self.targets:
            if name not in _ENCODED_FOR:
                raise UnknownNameError("target", name, TARGETS)
        for name in self.precisions:
            if name not in PRECISIONS:
                raise UnknownNameError("precision", name, PRECISIONS)

    def options(self) -> str:
        """The settings as command-line options, each preceded by a space."""
        words = [("--target", name) for name in self.targets] + [("--precision", name) for name in self.precisions]
        if self.camera is not None:
            words.append(("--camera", f"{self.camera[1]}x{self.camera[0]}"))
        if self.engine != EngineOptions():
            words.append(("--engine", str(self.engine)))
        return "".join(f" {name} {value}" for name, value in words)


def bundle_run(run: Run, settings: BundleSettings, progress: Progress, out: Path | None = None) -> WrittenBundle:
    """Write <out>/<run's name>/ and .tar.gz; `out` None means bundle/ in the run.

    Raises what exporting raises, UsageError when no model is left or when something would be lost: `out` holds
    something other than a bundle, or an earlier bundle holds depth that its run.py predicted,
    ModelError, RunError or FileError.
    """
    into = (run.folder / "bundle" if out is None else out) / run.name
    if out is not None:  # bundle/ in the run belongs to the run, and may hold a bundle that lost its manifest
        require_place(into)
    require_nothing_predicted(into)
    encodings = _encodings(run, settings, progress)
    with run.lock(progress):
        model, calibration = run_model(run), calibration_set(run)
        inputs = {"model": run.digest(model), "calibration": calibration.digest}
        made_from = {**inputs, "run": run.name, "edgekd": versions()["edgekd"], "machine": platform.machine()}
        options = BundleOptions(run.name, settings.camera, settings.engine, metric=run.caution is None)
        _, held_out = calibration.split()
        if out is not None:  # the lock has tidied the run's own folder
            for path in (into, into.with_name(f"{into.name}.tar.gz")):
                remove_remains(path)
        with progress.task("Writing the bundle"):
            written = write_bundle(read_graph(model), encodings, held_out[:_PICTURES], options, made_from, into)
        if out is None:
            asked = {**asdict(settings), "engine": str(settings.engine)}
            command = f"edgekd bundle {{run}}{settings.options()}"
            with run.step("bundle", inputs=inputs, asked=asked, command=command) as made:
                made.add(written.folder, written.archive)
    for mistake in written.blind_to:
        progress.note(f"The self-test would not notice {mistake}: depth changes by no more than its tolerance")
    return written


def _encodings(run: Run, settings: BundleSettings, progress: Progress) -> list[Encoding]:
    runtimes = settings.targets or tuple(_ENCODED_FOR)
    found: dict[str, Encoding] = {}
    for target, precisions in _PRECISIONS.items():
        served = tuple(name for name in runtimes if _ENCODED_FOR[name] == target)
        wanted = tuple(p for p in precisions if p in (settings.precisions or PRECISIONS))
        if not (served and wanted):
            continue
        for artefact in _exported(run, target, served, wanted, progress):
            encoding = Encoding(artefact.folder / _MODEL, artefact.precision, served)
            if encoding.file in found:  # all runtimes share one fp32 file
                encoding = Encoding(encoding.path, encoding.precision, (*found[encoding.file].runtimes, *served))
            found[encoding.file] = encoding
    if not found:
        raise UsageError(
            f"No {' or '.join(settings.precisions)} model for {', '.join(runtimes)}",
            fix="In a bundle fp16 is for TensorRT only; use fp32 or int8",
        )
    return list(found.values())


def _exported(
    run: Run, target: str, served: Sequence[str], precisions: Sequence[Precision], progress: Progress
) -> list[Artefact]:
    found = []
    for precision in precisions:
        usual = _as_exported(run, target, served, precision)
        result = export_run(run, replace(usual, targets=(target,), precisions=(precision,)), progress)
        result.raise_errors()
        for exported in result.exported:
            if exported.over_budget:
                progress.note(f"{exported.artefact.name} is over its accuracy budget but goes into the bundle")
            found.append(exported.artefact)
    return found


def _as_exported(run: Run, target: str, served: Sequence[str], precision: Precision) -> ExportSettings:
    """The settings that this artefact, or that of another runtime with the same encoding, was exported with: a bundle
    takes the existing artefact and does not rebuild it without its accuracy budget."""
    for name in (target, *served):
        record = run.manifest.steps.get(export_step(f"{name}-{precision}"))
        if record is None or record.finished is None:
            continue
        asked = record.asked
        budget, device = asked.get("max_drift"), asked.get("device") if name == target else None
        with explained():
            engine = EngineOptions.parse(asked.get("engine", ""))
        return ExportSettings(device=device, max_drift=None if budget is None else float(budget), engine=engine)
    return ExportSettings()
