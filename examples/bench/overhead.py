"""What does edgekd's bench add to a latency? It takes turns with a bare loop, on the same session and pictures.

    python examples/bench/overhead.py [student.onnx] [--rounds 5]

Prints the ratio of the medians, bench over bare loop; 1.00 means that the bench adds nothing. Without a model it makes
a small convolutional one. The two alternate because a machine drifts more over minutes than a bench may.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from calibration.progress import Quiet
from edgekd.bench.latency import measure_latency
from targets.reference import import_onnxruntime

onnxruntime = import_onnxruntime()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, help="an exported student; default: a small model made here")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=300)
    asked = parser.parse_args()
    if asked.model is not None and not asked.model.is_file():
        parser.error(f"{asked.model} not found: name a run's onnx/student.onnx")
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or small_model(Path(folder) / "small.onnx")
        height, width = (d.dim_value for d in onnx.load(model).graph.input[0].type.tensor_type.shape.dim[1:3])
        pictures = varied_pictures(height, width, 16)
        for name, make in {"onnxruntime": onnxruntime_session, "openvino": openvino_request}.items():
            compare(name, make(model), pictures, asked.rounds, asked.samples)


def compare(name: str, infer: Callable[[Any], Any], pictures: np.ndarray, rounds: int, samples: int) -> None:
    """Alternate, swapping who goes first, and print the median of the rounds' ratios."""
    ratios, bare, ours = [], [], []
    turns = [
        lambda: bare.append(bare_loop(infer, pictures, samples)),
        lambda: ours.append(benched(infer, pictures, samples)),
    ]
    for number in range(rounds):
        for turn in turns if number % 2 == 0 else turns[::-1]:
            turn()
        ratios.append(ours[-1] / bare[-1])
    print(
        f"{name:12} bare p50 {statistics.median(bare):.3f} ms, bench p50 {statistics.median(ours):.3f} ms, "
        f"ratio {statistics.median(ratios):.3f} (rounds {' '.join(f'{ratio:.3f}' for ratio in ratios)})"
    )


def bare_loop(infer: Callable[[Any], Any], pictures: np.ndarray, samples: int) -> float:
    """What a user writes: median milliseconds."""
    for number in range(60):
        infer(pictures[number % len(pictures)][None])
    times = []
    for number in range(samples):
        picture = pictures[number % len(pictures)][None]
        start = time.perf_counter()
        infer(picture)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def benched(infer: Callable[[Any], Any], pictures: np.ndarray, samples: int) -> float:
    runner: Any = SimpleNamespace(infer=infer, settings={}, artefact=SimpleNamespace(name="loop", target="onnxruntime"))
    return measure_latency(runner, pictures, minimum=samples, seconds=0, progress=Quiet()).p50


def onnxruntime_session(model: Path) -> Callable[[Any], Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["depth"], {"image": images})[0]


def openvino_request(model: Path) -> Callable[[Any], Any]:
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    request = openvino.Core().compile_model(str(model), "CPU", settings).create_infer_request()
    return lambda images: request.infer({"image": images}, share_inputs=True)["depth"]


def varied_pictures(height: int, width: int, count: int) -> np.ndarray:
    """Smooth colours with grain, uint8 [count, height, width, 3]."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 230, (count, 8, 8, 3))
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 8 // width
    grain = generator.integers(0, 25, (count, height, width, 3))
    return (coarse[:, rows][:, :, columns] + grain).astype(np.uint8)


def small_model(path: Path, size: int = 224, channels: int = 32) -> Path:
    """A few convolutions from uint8 [N, H, W, 3] to float32 [N, H, W]."""
    generator = np.random.default_rng(0)
    weights = {
        "w0": generator.normal(0, 0.1, (channels, 3, 3, 3)),
        "w1": generator.normal(0, 0.1, (channels, channels, 3, 3)),
        "w2": generator.normal(0, 0.1, (1, channels, 3, 3)),
    }
    pad: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w0"], ["a"], strides=[2, 2], **pad),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], **pad),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w2"], ["e"], **pad),
        helper.make_node("Resize", ["e", "", "scales"], ["f"], mode="linear"),
        helper.make_node("Squeeze", ["f", "axes"], ["depth"]),
    ]
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    constants.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    constants.append(numpy_helper.from_array(np.array([1]), "axes"))
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", size, size, 3])],
        [helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["N", size, size])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


if __name__ == "__main__":
    main()
