"""TensorRT: an engine where there is a device, otherwise the model to build it from and the command that builds it.

board/versions.py has the differences between versions 8.5 and 11. int8 is always explicit Q/DQ: 11 has no other kind.
"""

from __future__ import annotations

from pathlib import Path

from calibration.errors import ArtefactError, MissingRuntimeError
from calibration.images import CalibrationSet
from calibration.progress import Progress
from targets.artefact import ENGINE_OPTIONS, rebuild_command
from targets.base import Artefact, BuildOptions, Precision, Runner, RunnerOptions, Status
from targets.board.trtexec import trtexec_line
from targets.building import Built, package, prepare
from targets.engine import ENGINE, MODEL, EngineRunner, build_engine, require_first_gpu
from targets.graph import load_model
from targets.preflight import preflight
from targets.probe import probe_tensorrt, runs_engines
from targets.reference import infer_model
from targets.typed import write_typed

__all__ = ["TensorRT"]

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_MODULE = "tensorrt"


class TensorRT:
    """The target `tensorrt`. Without TensorRT or a device it still builds what the device needs."""

    name = "tensorrt"

    def status(self) -> Status:
        probe = probe_tensorrt(_MODULE)
        works = probe.builds and probe.device is not None
        if works:
            return Status(True, True, probe.version, (str(probe.device),), _PRECISIONS)
        missing = f"TensorRT does not run here ({probe.problem or 'no CUDA device'}); only the device's model is built"
        fix = (
            'On a desktop: pip install "edgekd[tensorrt]"; on a Jetson: sudo apt install tensorrt python3-libnvinfer. '
            "Or take it to the device: edgekd bundle --target tensorrt"
        )
        return Status(True, False, probe.version, (), _PRECISIONS, missing, fix)

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
        job = prepare(self.name, onnx, precision, _PRECISIONS, calibration, progress, options)
        here = self.status()

        def write(folder: Path) -> Built:
            settings = {**write_typed(job, folder / MODEL, progress), ENGINE_OPTIONS: str(options.engine)}
            settings["preflight"] = _preflight(folder / MODEL, progress)
            if not here.can_run:
                progress.note(str(here.missing))
                size = (job.graph.input.height, job.graph.input.width)
                command = trtexec_line("trtexec", None, MODEL, ENGINE, size, job.precision, options.engine)
                return Built(MODEL, {}, can_run_here=False, device_command=command, stand_in=MODEL, settings=settings)
            probe = probe_tensorrt(_MODULE)
            build_engine(_MODULE, job, options.engine, folder, probe, progress)
            return Built(ENGINE, {"tensorrt": str(probe.version)}, device=probe.device, settings=settings)

        return package(
            job,
            into,
            write=write,
            reference=lambda images: infer_model(job.graph.model, images),
            runner=lambda artefact: self.open(artefact, RunnerOptions()),
        )

    def open(self, artefact: Artefact, options: RunnerOptions) -> Runner:
        require_first_gpu(self.name, options.device)
        if not runs_engines(_MODULE):
            here = self.status()
            raise MissingRuntimeError(f"{artefact.name} cannot run here: {here.missing}", fix=here.fix or "")
        if not (artefact.folder / ENGINE).is_file():
            raise ArtefactError(
                f"{artefact.folder} was built on a machine without the device and holds no engine",
                fix=f"Rebuild it for this one: {rebuild_command(artefact)}",
            )
        return EngineRunner(_MODULE, artefact)


def _preflight(path: Path, progress: Progress) -> str:
    """The versions that will build the model. Notes for each other version up to three nodes that it will not build."""
    verdicts = preflight(load_model(path))
    for verdict in verdicts:
        for finding in verdict.findings[:3]:
            progress.note(f"TensorRT {verdict.version} will not build {finding.op} {finding.node} ({finding.reason})")
    return ", ".join(verdict.version for verdict in verdicts if verdict.builds)
