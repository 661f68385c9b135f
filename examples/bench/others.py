"""edgekd's p50 against OpenVINO's benchmark_app and a bare ONNX Runtime loop, on the same file and settings.

    python examples/bench/others.py runs/NAME/artefacts/openvino-int8 runs/NAME/artefacts/onnxruntime-int8 [--rounds 5]

They take turns. Prints the median of the rounds' ratios, edgekd's over the other's; the aim is 1.00 within 3 %.
benchmark_app does not fill the input inside its loop, so it is compared with edgekd's figure without copies;
session.run copies, as `infer` does.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from calibration.progress import Quiet
from calibration.script import run_script
from edgekd.bench.latency import measure_latency
from targets import get_target
from targets.artefact import open_artefact
from targets.base import Artefact, RunnerOptions
from targets.reference import import_onnxruntime

onnxruntime = import_onnxruntime()

SAMPLES = 400
PICTURES = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artefacts", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    for folder in asked.artefacts:
        artefact = open_artefact(folder)
        others: dict[str, Callable[[Artefact, int], float]] = {"openvino": benchmark_app, "onnxruntime": bare_loop}
        if artefact.target not in others:
            parser.error(f"{folder} is for {artefact.target}; this compares {' and '.join(others)}")
        compare(artefact, others[artefact.target], asked.rounds, asked.threads)


def compare(artefact: Artefact, other: Callable[[Artefact, int], float], rounds: int, threads: int) -> None:
    mine, theirs = [], []
    turns = [lambda: mine.append(ours(artefact, threads)), lambda: theirs.append(other(artefact, threads))]
    for number in range(rounds):
        for turn in turns if number % 2 == 0 else turns[::-1]:
            turn()
    ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
    print(
        f"{artefact.name:18} edgekd {statistics.median(mine):.3f} ms, "
        f"{other.__name__} {statistics.median(theirs):.3f} ms, "
        f"ratio {statistics.median(ratios):.3f} (rounds {' '.join(f'{ratio:.3f}' for ratio in ratios)})"
    )


def ours(artefact: Artefact, threads: int) -> float:
    with get_target(artefact.target).open(artefact, RunnerOptions(threads)) as runner:
        found = measure_latency(runner, pictures(artefact), minimum=SAMPLES, seconds=0, progress=Quiet())
    if artefact.target == "openvino" and found.resident is not None:
        return found.resident.timing.p50
    return found.p50


def bare_loop(artefact: Artefact, threads: int) -> float:
    """What a user writes around ONNX Runtime, with the settings that our runner states."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(artefact.path), options, providers=["CPUExecutionProvider"])
    images = pictures(artefact)
    times = []
    for number in range(SAMPLES + 60):
        image = images[number % PICTURES][None]
        start = time.perf_counter()
        session.run(["depth"], {"image": image})
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[60:])


def benchmark_app(artefact: Artefact, threads: int) -> float:
    """OpenVINO's own tool, on the same file: one stream, the same threads, no pinning, float32, synchronous."""
    height, width = artefact.input.height, artefact.input.width
    app = Path(sys.executable).with_name("benchmark_app")
    if not app.is_file():
        raise SystemExit(f"{app} not found: OpenVINO's tool must lie beside this Python, as pip installs it")
    command = [
        *(str(app), "-m", str(artefact.path), "-d", "CPU", "-api", "sync", "-hint", "none", "-niter", str(SAMPLES)),
        *("-nstreams", "1", "-nthreads", str(threads), "-infer_precision", "f32", "-pin", "NO"),
        *("-shape", f"image[1,{height},{width},3]"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Median:\s+([\d.]+) ms", done.stdout)
    if found is None:
        raise SystemExit(f"benchmark_app gave no median: {(done.stdout + done.stderr)[-800:]}")
    return float(found[1])


def pictures(artefact: Artefact) -> np.ndarray:
    """Smooth colours with grain, uint8 [PICTURES, height, width, 3]."""
    generator = np.random.default_rng(0)
    rows = np.arange(artefact.input.height) * 8 // artefact.input.height
    columns = np.arange(artefact.input.width) * 8 // artefact.input.width
    coarse = generator.integers(0, 230, (PICTURES, 8, 8, 3))[:, rows][:, :, columns]
    return (coarse + generator.integers(0, 25, coarse.shape)).astype(np.uint8)


if __name__ == "__main__":
    run_script(main)
