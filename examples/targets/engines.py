"""Builds and runs TensorRT engines on this machine's GPU and compares their depth with ONNX Runtime's on the same file.

    python examples/targets/engines.py runs/kitchen                   # a run's tensorrt-* artefacts
    python examples/targets/engines.py fp32.onnx fp16.onnx int8.onnx  # the model.onnx of such artefacts
    python examples/targets/engines.py --make out student.onnx        # writes such files; no GPU needed

For each file it prints the build time, the engine's size, the depth error, and the host's latency (picture in, depth
out) with and without CUDA graphs, all engines in turns. Each step is a process of its own, so that a crash takes
nothing with it; its output is shown in full and kept, as it comes, in --out. `--module tensorrt` uses TensorRT instead
of TensorRT for RTX.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS, REPEATS = 30, 20
LIMIT = 150  # seconds a step may take
WAYS = ("default", "CURRENT", "SM80", "SM89")  # compute capabilities RTX builds for; the first that runs is used
MARK = "RESULT "
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that it works where edgekd is not installed


def machine() -> dict[str, Any]:
    from targets.board.cuda import Device

    device = Device()
    device.start()
    free, total = device.memory()
    versions = {"numpy": np.__version__, "onnxruntime": importlib.import_module("onnxruntime").__version__}
    return {
        "device": device.name,
        "capability": device.capability,
        "driver_cuda": device.cuda,
        "memory_mb": [free >> 20, total >> 20],
        "python": platform.python_version(),
        **versions,
    }


def version(module: str) -> dict[str, str]:
    return {"module": module, "version": importlib.import_module(module).__version__}


def pictures(height: int, width: int) -> np.ndarray:
    from targets.trial import trial_pictures

    both = trial_pictures(height, width)
    return np.stack([both[0], both[1], both[0, :, ::-1], both[1, ::-1]])


def session_of(onnx: str) -> tuple[Any, np.ndarray]:
    from targets.reference import import_onnxruntime

    onnxruntime = import_onnxruntime()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    _, height, width, _ = session.get_inputs()[0].shape
    return session, pictures(height, width)


def precision_of(onnx: str) -> str:
    import onnx as library

    model = library.load(onnx)
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        return "int8"
    half = any(tensor.data_type == library.TensorProto.FLOAT16 for tensor in model.graph.initializer)
    return "fp16" if half else "fp32"


def build(module: str, onnx: str, engine: str, way: str) -> dict[str, Any]:
    """Write an engine. `way` other than default: TensorRT for RTX builds for that compute capability alone."""
    from targets.board.engine import build_engine
    from targets.board.options import EngineOptions
    from targets.board.versions import Versions

    trt = importlib.import_module(module)
    configure = Versions.configure

    def configure_for_one(self: Any, config: Any, *rest: Any) -> None:
        configure(self, config, *rest)
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, way), 0)

    if way != "default":
        Versions.configure = configure_for_one  # type: ignore[method-assign]
    _, images = session_of(onnx)
    started = time.perf_counter()
    plan, _ = build_engine(trt, Path(onnx).read_bytes(), images.shape[1:3], precision_of(onnx), EngineOptions())
    seconds = time.perf_counter() - started
    Path(engine).write_bytes(plan)
    return {"build_seconds": round(seconds, 2), "engine_mb": round(len(plan) / 1e6, 2), "way": way}


def compare(module: str, onnx: str, engine: str, graphs: str) -> dict[str, Any]:
    """The engine's depth against ONNX Runtime's on the CPU with the very file that it was built from."""
    from targets.board.engine import Engine

    session, images = session_of(onnx)
    wanted = np.concatenate([session.run(["depth"], {"image": images[n : n + 1]})[0] for n in range(len(images))])
    started = time.perf_counter()
    opened = Engine(importlib.import_module(module), Path(engine).read_bytes(), graphs=graphs == "graphs")
    loaded = time.perf_counter()
    first = opened.infer(images[:1])
    settled = time.perf_counter()
    alone = np.concatenate([first, *(opened.infer(images[n : n + 1]) for n in range(1, len(images)))])
    together = opened.infer(images)
    again = opened.infer(images[:1])
    found = {
        "graphs": opened.graphs,
        "open_s": round(loaded - started, 3),
        "first_s": round(settled - loaded, 3),
        **agreement(alone, wanted),
        "four_at_once": agreement(together, wanted),
        "the_same_again": bool(np.array_equal(first, again)),
    }
    opened.close()
    return found


def agreement(depth: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    ratio = np.maximum(depth / wanted, wanted / np.maximum(depth, 1e-6))
    return {
        "abs_rel": float(np.mean(np.abs(depth - wanted) / wanted)),
        "worst": float(np.max(ratio) - 1),
        "within_1": float((ratio < 1.01).mean()),
        "within_5": float((ratio < 1.05).mean()),
    }


def latency(module: str, *pairs: str) -> dict[str, Any]:
    """Milliseconds of each engine, with and without CUDA graphs, in turns, so that all meet the same conditions."""
    from targets.board.engine import Engine
    from targets.turns import time_in_turns

    trt = importlib.import_module(module)
    calls: dict[str, Callable[[], object]] = {}
    for onnx, engine in zip(pairs[::2], pairs[1::2], strict=True):
        _, images = session_of(onnx)
        picture = np.ascontiguousarray(images[:1])
        for graphs in (False, True):
            opened = Engine(trt, Path(engine).read_bytes(), graphs=graphs)
            opened.infer(picture)
            name = f"{Path(engine).stem}, CUDA graphs {opened.graphs}"
            calls[name] = lambda opened=opened, picture=picture: opened.infer(picture)
            if opened.graphs == "on":
                calls[f"{name}, bare loop"] = lambda opened=opened, picture=picture: bare(opened, picture)
    for call in calls.values():
        for _ in range(300):
            call()
    times = time_in_turns(calls, ROUNDS, REPEATS)
    return {name: dict(zip(("p50", "p90", "p99"), percentiles(taken), strict=True)) for name, taken in times.items()}


def bare(engine: Any, picture: np.ndarray) -> Any:
    """The least that must be done: picture in, the recorded graph, depth out."""
    engine._image.host[...] = picture
    engine._graph.launch()
    engine._stream.wait()
    return engine._depth.host.copy()


def percentiles(times: list[float]) -> list[float]:
    return [round(value, 4) for value in np.percentile(times, (50, 90, 99)).tolist()]


STEPS: dict[str, Callable[..., Any]] = {
    "machine": machine,
    "version": version,
    "build": build,
    "compare": compare,
    "latency": latency,
}


class Record:
    """What was found, on the screen and in a file that is whole after each step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.steps: list[dict[str, Any]] = []

    def step(self, *words: str) -> Any:
        """Do a step in a process of its own; None where it failed, crashed or took too long."""
        entry: dict[str, Any] = {"step": " ".join(words)}
        command = [sys.executable, "-X", "faulthandler", __file__, "--step", *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
            said = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
            if done.returncode == 0 and said:
                entry["result"] = json.loads(said[-1][len(MARK) :])
            else:
                entry["error"] = f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        except subprocess.TimeoutExpired as error:
            said = [(part or b"").decode(errors="replace") for part in (error.stdout, error.stderr)]  # bytes, always
            entry["error"] = "\n".join([f"not done after {LIMIT} s", *said])
        self.steps.append(entry)
        self.path.write_text(json.dumps(self.steps, indent=1))
        print(f"[{'FAILED' if 'error' in entry else 'ok'}] {entry['step']}", flush=True)
        print(entry.get("error") or json.dumps(entry["result"]), flush=True)
        return entry.get("result")


def onnx_files(path: Path) -> list[Path]:
    """A run's models for TensorRT, or the one that is named."""
    return sorted(path.glob("artefacts/tensorrt-[fi]*/model.onnx")) if path.is_dir() else [path]


def measure(models: list[Path], modules: list[str], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    record = Record(out / "engines.json")
    if record.step("machine") is None:
        sys.exit("No GPU could be asked what it is: engines are built and run where one is (--make needs none)")
    module = next((name for name in modules if record.step("version", name)), None)
    if module is None:
        sys.exit("No TensorRT could be imported")
    pairs: list[str] = []
    for path in models:
        for onnx in onnx_files(path):
            lies = onnx.resolve().parents  # a path as it is given may have fewer
            name = onnx.stem if onnx.stem != "model" else f"{lies[2].name}-{lies[0].name}"
            engine = str(out / f"{name}.engine")
            for way in WAYS if "rtx" in module else WAYS[:1]:
                if record.step("build", module, str(onnx), engine, way) is None:
                    continue
                worked = [record.step("compare", module, str(onnx), engine, kind) for kind in ("plain", "graphs")]
                if any(worked):
                    pairs += [str(onnx), engine]
                    break
    measured = record.step("latency", module, *pairs) if pairs else None
    if measured:
        print("\n| engine | p50 ms | p90 ms | p99 ms |\n| --- | --- | --- | --- |")
        for name, row in measured.items():
            print(f"| {name} | {row['p50']:.3f} | {row['p90']:.3f} | {row['p99']:.3f} |")
    # That a module is not here is no failure where another one is.
    failed = [entry["step"] for entry in record.steps if "error" in entry and not entry["step"].startswith("version ")]
    print(f"\n{len(record.steps)} steps, failed: {failed or 'none'}; kept in {record.path}")
    if failed:
        sys.exit(1)


def make_models(student: Path, out: Path) -> None:
    """The three models that the tensorrt target builds engines from; trial pictures stand in for a calibration set."""
    from calibration.images import CalibrationSet
    from calibration.progress import Quiet
    from targets.base import PRECISIONS, BuildOptions
    from targets.building import prepare
    from targets.graph import read_graph
    from targets.typed import write_typed

    spec = read_graph(student).input
    images = pictures(spec.height, spec.width)
    images = np.concatenate([images, 255 - images, images[:, :, ::-1], images // 2])
    calibration = CalibrationSet.write(out / "calibration", images, origin="trial pictures", made_from={})
    for precision in PRECISIONS:
        job = prepare("tensorrt", student, precision, PRECISIONS, calibration, Quiet(), BuildOptions())
        write_typed(job, out / f"{student.stem}-{precision}.onnx", Quiet())
        print(out / f"{student.stem}-{precision}.onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help="ONNX files, or a run's folder")
    parser.add_argument("--module", action="append", help="tensorrt, tensorrt_rtx or tensorrt_rtx_bindings")
    parser.add_argument("--out", type=Path, default=Path("engines-out"), help="folder for engines.json and the engines")
    parser.add_argument("--make", type=Path, metavar="FOLDER", help="write the three models of each fp32 file here")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(MARK + json.dumps(STEPS[given.step[0]](*given.step[1:])))
    elif not given.models:
        parser.error("name ONNX files or a run's folder")
    elif missing := [path for path in given.models if not path.exists()]:
        parser.error(f"{missing[0]} not found")
    elif given.make and (folders := [path for path in given.models if path.is_dir()]):
        parser.error(f"{folders[0]} is a folder: --make takes the onnx/student.onnx in it")
    elif given.make:
        for student in given.models:
            make_models(student, given.make)
    elif empty := [path for path in given.models if not onnx_files(path)]:
        parser.error(f"{empty[0]} holds no models for TensorRT: edgekd export {empty[0]} --target tensorrt")
    else:
        measure(given.models, given.module or ["tensorrt_rtx", "tensorrt_rtx_bindings", "tensorrt"], given.out)


if __name__ == "__main__":
    main()
