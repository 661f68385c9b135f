"""A bundle of a small network, and its run.py without the modules that a bundle must not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from small_network import pictures

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from targets import get_target
from targets.base import BuildOptions
from targets.bundle.write import BundleOptions, Encoding, WrittenBundle, write_bundle
from targets.graph import read_graph

CAMERA = (60, 80)

# Hides everything that the bundle must not need, and the other runtime.
RUN_WITHOUT_MODULES = """
import runpy, sys
for name in {absent!r}:
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ABSENT = {"edgekd", "targets", "calibration", "torch", "PIL", "cv2", "onnx", "typer", "rich", "scipy", "tensorrt"}


def encodings(folder: Path, student: Path) -> list[Encoding]:
    calibration = CalibrationSet.write(folder / "set", pictures(16), origin="", made_from={})
    made = []
    for target, served in (("tensorrt", ("tensorrt", "tensorrt-rtx")), ("onnxruntime", ("openvino", "onnxruntime"))):
        for precision in ("fp32", "int8"):
            into = folder / f"{target}-{precision}"
            built = get_target(target).build(student, precision, calibration, BuildOptions(), Quiet(), into=into)
            made.append(Encoding(into / "model.onnx", built.precision, served))
    return [made[1], made[3], Encoding(made[0].path, "fp32", (*made[0].runtimes, *made[2].runtimes))]


def write(parts: tuple[Path, list[Encoding]], into: Path, **options: object) -> WrittenBundle:
    student, made = parts
    settings = BundleOptions("small", **options)
    return write_bundle(read_graph(student), made, pictures(6, seed=9), settings, {"student": "s"}, into)


def run(bundle: Path, *arguments: str, absent: set[str] = frozenset(), python: str = sys.executable):
    code = RUN_WITHOUT_MODULES.format(absent=ABSENT | absent)
    command = [python, "-c", code, str(bundle / "run.py"), "--seconds", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=bundle.parent)
