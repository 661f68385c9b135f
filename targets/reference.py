"""Running an ONNX model in float on the CPU with ONNX Runtime: the reference for drift and calibration."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.errors import MissingRuntimeError, ModelError
from calibration.reasons import first_line
from targets.board import silence
from targets.graph import copy_model
from targets.nodes import drop_unused, name_nodes

if TYPE_CHECKING:
    import onnx

__all__ = [
    "emulate_model",
    "exposing",
    "fold",
    "import_onnxruntime",
    "infer_model",
    "open_session",
    "session_options",
    "stream_tensors",
]

_BATCH = 4


def import_onnxruntime() -> ModuleType:
    """The onnxruntime module. Raises MissingRuntimeError."""
    try:
        onnxruntime: ModuleType = silence.import_onnxruntime()
    except ImportError as error:
        raise MissingRuntimeError(
            f"ONNX Runtime is not installed ({error})", fix='Install it: pip install "edgekd[onnxruntime]"'
        ) from error
    try:
        onnxruntime.set_default_logger_severity(3)
    except AttributeError as error:  # left behind where onnxruntime-gpu was uninstalled beside it
        raise MissingRuntimeError(
            f"The ONNX Runtime installation is damaged ({error})",
            fix="Reinstall it: pip install --force-reinstall onnxruntime",
        ) from error
    return onnxruntime


def session_options(threads: int = 0) -> Any:
    """Options of a quiet session whose threads do not spin: busy waiting takes cores from other work. 0: all cores."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def open_session(model: onnx.ModelProto, options: Any = None) -> Any:
    """A CPU session on a model in memory. Raises ModelError when ONNX Runtime cannot load it."""
    onnxruntime = import_onnxruntime()
    options = session_options() if options is None else options
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise ModelError(
            f"ONNX Runtime cannot load the model ({first_line(error)})", fix="Export the model again"
        ) from error


def infer_model(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth float32 [N, H, W] in metres of pictures uint8 [N, H, W, 3]."""
    return np.concatenate([depth for (depth,) in stream_tensors(model, images, ["depth"])])


def emulate_model(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same with every node computed as written, in float: what another runtime makes of a Q/DQ model.

    ONNX Runtime's optimiser would rewrite the model for its own kernels and round to int8 what it leaves in float.
    """
    options = session_options()
    options.graph_optimization_level = import_onnxruntime().GraphOptimizationLevel.ORT_DISABLE_ALL
    session = open_session(model, options)
    return np.concatenate([depth for (depth,) in _stream(session, images, ["depth"], _BATCH)])


def stream_tensors(
    model: onnx.ModelProto, images: NDArray[np.uint8], names: Sequence[str], batch: int = _BATCH
) -> Iterator[list[NDArray[np.float32]]]:
    """The named tensors, batch by batch, so that memory does not grow with the number of pictures."""
    yield from _stream(open_session(exposing(model, names)), images, names, batch)


def _stream(
    session: Any, images: NDArray[np.uint8], names: Sequence[str], batch: int
) -> Iterator[list[NDArray[np.float32]]]:
    for start in range(0, len(images), batch):
        feed = {"image": np.ascontiguousarray(images[start : start + batch])}
        yield session.run(list(names), feed)


def exposing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of the model with the named float tensors among its outputs."""
    from onnx import TensorProto, helper

    copy = copy_model(model)
    known = {output.name for output in copy.graph.output}
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in known
    )
    return copy


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with BatchNorm folded into convolutions and constants computed; standard operators only."""
    import onnx

    options = session_options()
    options.graph_optimization_level = import_onnxruntime().GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        open_session(model, options)
        folded = onnx.load_model(path)
    name_nodes(folded)
    drop_unused(folded)
    return folded
