"""TensorRT: the engine where a device is here, otherwise the model it is built from and the command that builds it.

Versions 8.5 to 11 differ in names only, all of them in engine.py. int8 is explicit Q/DQ throughout: TensorRT 11 has no
other kind.
"""

from __future__ import annotations

from pathlib import Path

from calibration.errors import ArtefactError, MissingRuntimeError
from calibration.images import CalibrationSet
from calibration.progress import Progress
from targets.artefact import misfit
from targets.base import Artefact, BuildOptions, Precision, Runner, RunnerOptions, Status
from targets.building import Built, package, prepare
from targets.engine import LARGEST_BATCH, EngineRunner, build_engine
from targets.input import InputSpec
from targets.probe import probe_tensorrt
from targets.reference import infer_model
from targets.typed import write_typed

__all__ = ["TensorRT", "trtexec"]

_PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
_MODULE = "tensorrt"
_MODEL = "model.onnx"
_ENGINE = "model.engine"


def trtexec(spec: InputSpec) -> str:
    """The command that builds the engine on the device, in the artefact's folder. TensorRT 8 takes `--fp16 --int8`
    in place of `--stronglyTyped`."""
    one, most = (f"image:{count}x{spec.height}x{spec.width}x3" for count in (1, LARGEST_BATCH))
    shapes = f"--minShapes={one} --optShapes={one} --maxShapes={most}"
    return f"trtexec --onnx={_MODEL} --saveEngine={_ENGINE} --stronglyTyped {shapes}"


class TensorRT:
    """The target `tensorrt`. Without TensorRT or a device it still builds what the device needs."""

    name = "tensorrt"

    def status(self) -> Status:
        probe = probe_tensorrt(_MODULE)
        works = probe.builds and probe.device is not None
        if works:
            return Status(True, True, probe.version, (str(probe.device),), _PRECISIONS)
        missing = f"TensorRT does not run here ({probe.problem or 'no CUDA device'}); the model for the device is built"
        fix = (
            'On a desktop: pip install "edgekd[tensorrt]" cuda-python; on a Jetson: sudo apt install tensorrt '
            "python3-libnvinfer. Or run on the device the command that `edgekd export` prints"
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
        job = prepare(self.name, onnx, precision, _PRECISIONS, calibration, progress)
        here = self.status()

        def write(folder: Path) -> Built:
            settings = write_typed(job, folder / _MODEL, progress)
            if not here.can_run:
                progress.note(f"{here.missing}. {here.fix}")
                command = trtexec(job.graph.input)
                return Built(_MODEL, {}, can_run_here=False, device_command=command, stand_in=_MODEL, settings=settings)
            import tensorrt

            with progress.task("Building a TensorRT engine; this takes minutes"):
                engine = build_engine(tensorrt, (folder / _MODEL).read_bytes(), job.graph.input)
            (folder / _ENGINE).write_bytes(engine)
            return Built(_ENGINE, {"tensorrt": tensorrt.__version__}, device=here.devices[0], settings=settings)

        return package(
            job,
            into,
            write=write,
            reference=lambda images: infer_model(job.graph.model, images),
            runner=lambda artefact: self.open(artefact, RunnerOptions()),
        )

    def open(self, artefact: Artefact, options: RunnerOptions) -> Runner:
        here = self.status()
        if not here.can_run:
            raise MissingRuntimeError(f"{artefact.name} cannot run here: {here.missing}", fix=here.fix or "")
        engine = artefact.folder / _ENGINE
        if not engine.is_file():
            raise ArtefactError(
                f"{artefact.folder} holds no engine for this device yet",
                fix=f"Build it there: cd {artefact.folder} && {artefact.device_command}",
            )
        # An engine that trtexec built has no version on record; TensorRT itself refuses one that does not fit.
        built_by, built_for = artefact.versions.get("tensorrt"), artefact.device
        if built_by not in (None, here.version):
            raise misfit(artefact, f"the engine is of TensorRT {built_by}, here is {here.version}")
        if built_for is not None and built_for != here.devices[0]:
            raise misfit(artefact, f"the engine is for {built_for}, here is {here.devices[0]}")
        import tensorrt

        settings = {"version": str(here.version), "device": here.devices[0]}
        return EngineRunner(tensorrt, artefact, engine, settings)
