"""What a bundle's run.py adds to start-up and to each frame, measured in turns with the bare runtime.

    python examples/bundle/overhead.py runs/kitchen/bundle/kitchen

Start: a process that opens the model through run.py (with digests and self-test) against one that imports numpy and the
runtime and opens the same file. Frame: `Predictor.depth` on a picture at the network's resolution, and on a 640x480
picture that run.py frames with numpy, both against the runtime's own call.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from targets.reference import import_onnxruntime
from targets.turns import time_in_turns

STARTS, ROUNDS, REPEATS = 15, 30, 10
OURS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("run", sys.argv[1] + "/run.py")
run = sys.modules["run"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)
run.Predictor(sys.argv[1], sys.argv[2], sys.argv[3])
"""
BARE = {
    "onnxruntime": "import sys, numpy, onnxruntime; onnxruntime.InferenceSession(sys.argv[4])",
    "openvino": """
import sys, numpy, openvino
core = openvino.Core()
model = core.read_model(sys.argv[4])
model.reshape({0: [1, *(size.get_length() for size in list(model.input(0).partial_shape)[1:])]})
core.compile_model(model, "CPU")
""",
}


def load(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("run", folder / "run.py")
    assert spec is not None and spec.loader is not None
    run = sys.modules["run"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    return run


def seconds(code: str, words: list[str]) -> float:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *words], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words[1:])} could not be opened:\n{done.stderr}")
    return time.perf_counter() - started


def bare_call(runtime: str, path: Path, size: tuple[int, int]) -> Callable[[np.ndarray], Any]:
    if runtime == "onnxruntime":
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return lambda image: session.run(["depth"], {"image": image})
    import openvino

    told = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    told |= {"NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape({"image": [1, *size, 3]})  # as run.py does: a quarter faster for one picture
    request = core.compile_model(model, "CPU", told).create_infer_request()
    return lambda image: request.infer({"image": image}, share_inputs=False, share_outputs=False)["depth"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    folder = parser.parse_args().bundle.resolve()
    if not (folder / "run.py").is_file():
        parser.error(f"{folder} is not a bundle: run.py is missing. Make one: edgekd bundle")
    run = load(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    print("| runtime, precision | start: run.py adds | frame: over the bare call | 640x480 frame |")
    print("| --- | --- | --- | --- |")
    for runtime in BARE:
        for model in manifest["models"]:
            if runtime not in model["runtimes"] or importlib.util.find_spec(runtime) is None:
                continue
            path, precision = folder / model["file"], model["precision"]
            words = [str(folder), runtime, precision, str(path)]
            starts = [(seconds(OURS, words), seconds(BARE[runtime], words)) for _ in range(STARTS)]
            added = float(np.median([ours - bare for ours, bare in starts]))
            small = run.read_picture(folder / manifest["selftest"]["picture"])
            predictor, bare = run.Predictor(str(folder), runtime, precision), bare_call(runtime, path, small.shape[:2])
            large = np.repeat(np.repeat(small, 3, axis=0), 3, axis=1)[:480, :640]
            batch = small[None]
            calls: dict[str, Callable[[], Any]] = {
                "bare": lambda bare=bare, batch=batch: bare(batch),
                "ours": lambda predictor=predictor, small=small: predictor.depth(small),
            }
            if manifest["camera"] is None:
                calls["large"] = lambda predictor=predictor, large=large: predictor.depth(large)
            times = time_in_turns(calls, ROUNDS, REPEATS)
            medians = {name: float(np.median(taken)) for name, taken in times.items()}
            larger = f"{medians['large'] - medians['bare']:.1f} ms more" if "large" in medians else "-"
            ratio = medians["ours"] / medians["bare"]
            print(f"| {runtime}, {precision} | {added:.2f} s | {ratio:.3f} ({medians['bare']:.2f} ms) | {larger} |")


if __name__ == "__main__":
    main()
