"""Ways to frame a camera's picture inside the graph: their error against Pillow's anti-aliased resize, and their time.

    python examples/bundle/framing.py [PICTURE]

Takes a 640x480 frame to 224x224 as FastDepth was trained (height 250, centre crop 228x304). One thread, in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from calibration.script import run_script
from edgekd.pictures import read_picture
from targets.board.framing import Framing as BoardFraming
from targets.camera import with_camera
from targets.input import Framing
from targets.reference import import_onnxruntime

onnxruntime = import_onnxruntime()

FRAMING = Framing(224, 224, 250, (228, 304))
HEIGHT, WIDTH, ROUNDS = 480, 640, 25


def identity() -> onnx.ModelProto:
    """A network that gives back what it is fed, in float."""
    node = helper.make_node("Cast", ["image"], ["framed"], to=TensorProto.FLOAT)
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 224, 224, 3])
    framed = helper.make_tensor_value_info("framed", TensorProto.FLOAT, ["N", 224, 224, 3])
    graph = helper.make_graph([node], "identity", [image], [framed])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resized(pool: int) -> onnx.ModelProto:
    """Slice, where `pool` is above 1 AveragePool, and Resize."""
    left, top, right, bottom = (round(edge) for edge in FRAMING.box(HEIGHT, WIDTH))
    height, width = (bottom - top) // pool, (right - left) // pool
    # The nearest float below the exact factor would give a size of 223.
    scales = np.nextafter(np.array([1, 1, 224 / height, 224 / width], np.float32), np.float32(9))
    scales[:2] = 1
    constants = {
        "starts": np.array([top, left]),
        "ends": np.array([top + height * pool, left + width * pool]),
        "axes": np.array([1, 2]),
        "scales": scales,
    }
    how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [
        helper.make_node("Slice", ["image", "starts", "ends", "axes"], ["cropped"]),
        helper.make_node("Cast", ["cropped"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["nchw"], ["pooled"], kernel_shape=[pool, pool], strides=[pool, pool]),
        helper.make_node("Resize", ["pooled", "", "scales"], ["small"], **how),
        helper.make_node("Transpose", ["small"], ["framed"], perm=[0, 2, 3, 1]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])
    framed = helper.make_tensor_value_info("framed", TensorProto.FLOAT, ["N", None, None, 3])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "resized", [image], [framed], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def runners(model: onnx.ModelProto) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    told: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(core.read_model(data), "CPU", told).create_infer_request()
    return {
        "onnxruntime": lambda image: session.run(["framed"], {"image": image})[0],
        "openvino": lambda image: np.array(request.infer({"image": image})["framed"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path, default=Path(__file__).parents[1] / "simulate" / "rooms.jpg")
    picture = np.asarray(Image.fromarray(read_picture(parser.parse_args().picture)).resize((WIDTH, HEIGHT)))
    wanted = FRAMING.image(picture).astype(np.float32)
    own = BoardFraming({"height": 224, "width": 224, "resize_height": 250, "crop": (228, 304)})
    ways = {
        "two matrix products": with_camera(identity(), FRAMING, (HEIGHT, WIDTH)),
        "Slice and Resize": resized(1),
        "Slice, AveragePool 2 and Resize": resized(2),
    }
    calls: dict[str, Callable[[], Any]] = {
        "Pillow": lambda: FRAMING.image(picture),
        "numpy": lambda: own.image(picture),
    }
    rows = {}
    for name, model in ways.items():
        for runtime, run in runners(model).items():
            off = np.abs(run(picture[None])[0] - wanted)
            rows[name] = f"{off.mean():.2f} | {off.max():.0f}"
            calls[f"{name}, {runtime}"] = lambda run=run: run(picture[None])
    off = np.abs(own.image(picture) - wanted)
    rows["numpy"] = f"{off.mean():.4f} | {off.max():.0f}"
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - started))
    print("| | mean difference, levels | largest | onnxruntime ms | openvino ms |\n| --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        taken = [np.median(times.get(f"{name}, {runtime}", [np.nan])) for runtime in ("onnxruntime", "openvino")]
        shown = ["-" if np.isnan(one) else f"{one:.1f}" for one in taken]
        print(f"| {name} | {row} | {shown[0]} | {shown[1]} |")
    print(f"Pillow {np.median(times['Pillow']):.1f} ms, numpy {np.median(times['numpy']):.1f} ms")


if __name__ == "__main__":
    run_script(main)
