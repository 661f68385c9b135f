"""Is int8 as edgekd builds it as fast as int8 can be? Ratios of medians, taken in turns in one process.

    edgekd export runs/fastdepth --target onnxruntime --target openvino
    python examples/calibration/speed.py runs/fastdepth [--threads 1]

Plain int8 is what ONNX Runtime's own quantiser makes of the same model and pictures (quantize_static, Q/DQ, weights per
channel, ranges from the extremes, every layer), run by the same runtime.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from pictures import Images

from calibration.images import CalibrationSet
from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.run import find_run
from edgekd.steps.artefacts import artefact_folder, run_model
from targets import get_target
from targets.artefact import open_artefact
from targets.base import RunnerOptions
from targets.reference import open_session, session_options
from targets.turns import time_in_turns

ROUNDS, REPEATS = 40, 10
PICTURES = 16  # for calibrating plain int8; its speed does not depend on them

Call = Callable[[], object]


def plain_int8(model: Path, images: Images) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images: Iterator[Images] = iter(images[:, None])

        def get_next(self) -> dict[str, Any] | None:
            image = next(self._images, None)
            return None if image is None else {"image": np.ascontiguousarray(image)}

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.onnx"
        quantize_static(str(model), str(path), Reader(), quant_format=QuantFormat.QDQ, per_channel=True)
        return onnx.load(path)


def onnxruntime_call(model: onnx.ModelProto, threads: int, image: Images) -> Call:
    session = open_session(model, session_options(threads))
    return lambda: session.run(["depth"], {"image": image})


def openvino_call(model: onnx.ModelProto, threads: int, image: Images) -> Call:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    read = core.read_model(model.SerializeToString(), b"")
    read.reshape({"image": list(image.shape)})  # as the target does: a quarter faster for one picture
    request = core.compile_model(read, "CPU", settings).create_infer_request()
    return lambda: request.infer({"image": image}, share_inputs=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run with fp32 and int8 artefacts of both runtimes")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    run, threads = find_run(arguments.run, Quiet()), arguments.threads
    images = np.asarray(CalibrationSet.open(run.folder / "calibration").images[:PICTURES])
    plain, image = plain_int8(run_model(run), images), images[:1]
    calls = {
        ("onnxruntime", "plain int8"): onnxruntime_call(plain, threads, image),
        ("openvino", "plain int8"): openvino_call(plain, threads, image),
    }
    for runtime in ("onnxruntime", "openvino"):
        for precision in ("fp32", "int8"):
            artefact = open_artefact(artefact_folder(run, f"{runtime}-{precision}"))
            runner = get_target(runtime).open(artefact, RunnerOptions(threads=threads))
            calls[runtime, precision] = lambda runner=runner: runner.infer(image)  # type: ignore[misc]
    times = time_in_turns(calls, ROUNDS, REPEATS)
    print(f"{run.folder}, {threads} thread(s), {ROUNDS} rounds of {REPEATS}\n")
    print("| runtime | fp32 ms | plain int8 ms | int8 ms | int8 over plain | fp32 over int8 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for runtime in ("onnxruntime", "openvino"):
        fp32, simple, int8 = (float(np.median(times[runtime, kind])) for kind in ("fp32", "plain int8", "int8"))
        print(f"| {runtime} | {fp32:.2f} | {simple:.2f} | {int8:.2f} | {int8 / simple:.2f} | {fp32 / int8:.2f} |")


if __name__ == "__main__":
    run_script(main)
