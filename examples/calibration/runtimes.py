"""Runs int8 models as their targets do, straight from what calibration decided."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from targets.calibrated import Calibrated, infer_quantised, quantise
from targets.encodings import S8, U8S8_FLOAT_SUMS
from targets.padding import pad_channels
from targets.quick import quantise_for_onnxruntime
from targets.reference import infer_model

Depth = NDArray[np.float32]
Images = NDArray[np.uint8]


def for_openvino(calibrated: Calibrated) -> onnx.ModelProto:
    return quantise(pad_channels(calibrated), U8S8_FLOAT_SUMS)


def infer_openvino(model: onnx.ModelProto, images: Images) -> Depth:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(model.SerializeToString(), b""), "CPU", settings)
    request = compiled.create_infer_request()
    return np.concatenate(
        [np.array(request.infer({"image": picture[None]}, share_inputs=False)["depth"]) for picture in images]
    )


RUNTIMES: dict[str, Callable[[Calibrated, Images], Depth]] = {
    "onnxruntime": lambda calibrated, images: infer_model(quantise_for_onnxruntime(calibrated), images),
    "openvino": lambda calibrated, images: infer_openvino(for_openvino(calibrated), images),
    "tensorrt (computed in float)": lambda calibrated, images: infer_quantised(calibrated, S8, images),
}
