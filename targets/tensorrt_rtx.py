"""TensorRT for RTX: engines for laptops and workstations with an RTX card, built without a card or driver."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from calibration.errors import MissingRuntimeError
from calibration.images import CalibrationSet
from calibration.progress import Progress
from targets.artefact import ENGINE_OPTIONS
from targets.base import Artefact, BuildOptions, Precision, Runner, RunnerOptions, Status
from targets.board.engine import refusal
from targets.building import Built, package, prepare
from targets.engine import ENGINE, MODEL, EngineRunner, build_engine, require_first_gpu
from targets.probe import probe_tensorrt, runs_engines
from targets.reference import infer_model
from targets.typed import write_typed

__all__ = ["TensorRTRtx", "installed_module", "rtx_refusal"]

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_MODULES = ("tensorrt_rtx", "tensorrt_rtx_bindings")  # the vendor's wheel, and the one on PyPI
_INSTALL = 'Install it (Linux, x86-64): pip install "edgekd[tensorrt-rtx]"'


def rtx_refusal(model: bytes) -> str | None:
    """Why TensorRT for RTX rejects an ONNX model, or None where it accepts it: the acceptance test of every encoding.

    Raises MissingRuntimeError where it is not installed.
    """
    return refusal(_import_rtx(), model)


class TensorRTRtx:
    """The target `tensorrt-rtx`."""

    name = "tensorrt-rtx"

    def status(self) -> Status:
        name = installed_module()
        if name is None:
            return Status(False, False, missing="TensorRT for RTX is not installed", fix=_INSTALL)
        probe = probe_tensorrt(name)
        if not probe.builds:
            return Status(
                False, False, probe.version, missing=f"The builder fails to start ({probe.problem})", fix=_INSTALL
            )
        if probe.device is None:
            return Status(
                True,
                False,
                probe.version,
                precisions=_PRECISIONS,
                missing="No CUDA device on this machine: engines are built but not run",
                fix="Take them to a machine with an RTX card: edgekd bundle --target tensorrt-rtx",
            )
        return Status(True, True, probe.version, (probe.device,), _PRECISIONS)

    def build(
        self,
        onnx: Path,
        precision: Precision,
        calibration: CalibrationSet | None,
        options: BuildOptions,
        progress: Progress,
        *,
        into: Path,
    ) -> Artefact:
        require_first_gpu(self.name, options.device)
        name = _import_rtx().__name__
        here, probe = self.status(), probe_tensorrt(name)
        job = prepare(self.name, onnx, precision, _PRECISIONS, calibration, progress, options)

        def write(folder: Path) -> Built:
            settings = {**write_typed(job, folder / MODEL, progress), ENGINE_OPTIONS: str(options.engine)}
            build_engine(name, job, options.engine, folder, probe, progress)
            return Built(
                ENGINE,
                {"tensorrt-rtx": str(probe.version)},
                can_run_here=here.can_run,
                device_command=None if here.can_run else f"tensorrt_rtx --loadEngine={ENGINE}",
                stand_in=MODEL,
                settings=settings,
            )

        return package(
            job,
            into,
            write=write,
            reference=lambda images: infer_model(job.graph.model, images),
            runner=lambda artefact: self.open(artefact, RunnerOptions()),
        )

    def open(self, artefact: Artefact, options: RunnerOptions) -> Runner:
        require_first_gpu(self.name, options.device)
        name = installed_module()
        if name is None or not runs_engines(name):
            here = self.status()
            raise MissingRuntimeError(f"{artefact.name} cannot run here: {here.missing}", fix=here.fix or _INSTALL)
        return EngineRunner(name, artefact)


def installed_module() -> str | None:
    """The name under which TensorRT for RTX can be imported, None where it is not installed."""
    return next((name for name in _MODULES if importlib.util.find_spec(name) is not None), None)


def _import_rtx() -> ModuleType:
    name = installed_module()
    if name is None:
        raise MissingRuntimeError("TensorRT for RTX is not installed", fix=_INSTALL)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingRuntimeError(f"TensorRT for RTX fails to load ({error})", fix=_INSTALL) from error
