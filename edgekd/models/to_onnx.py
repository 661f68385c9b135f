"""Exports a torch network to the fp32 ONNX model that every target is built from.

The graph takes `image`, uint8 RGB [batch, H, W, 3], and gives `depth`, float32 [batch, H, W] in metres; it includes
casting, layout and normalisation. BatchNorm is folded into the convolutions.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from calibration.errors import ModelError
from calibration.files import replacing
from calibration.reasons import first_line
from edgekd.models.graph_order import enlarge_last
from edgekd.models.graph_tidy import tidy
from edgekd.models.opset import lower
from edgekd.models.pictures import probe_pictures
from edgekd.models.slim import Slim
from edgekd.models.stored import folded_layers, folded_ranges, folded_statistics
from edgekd.models.torch_export import Deployed, exported
from targets.board.silence import import_onnxruntime
from targets.input import InputSpec
from targets.learned import RANGES_KEY, pack_ranges
from targets.statistics import STATISTICS_KEY, ChannelStatistics, pack_statistics

__all__ = ["RECIPE", "Parity", "export_onnx", "require_exportable"]

RECIPE = 4
"""Version of the way in which models are written; a model of another version is exported again."""

_TOLERANCE = 1e-3  # relative to the depth, or to _NEAR for depth below it
_NEAR = 0.1  # metres
_FAR = 10  # times the median depth; beyond, inverse depth is compared, in which rounding happened
_IMAGES = 4


@dataclass(frozen=True)
class Parity:
    """How far the ONNX model's depth is from torch's, over `images` test pictures."""

    max_abs_metres: float
    max_relative: float  # relative to the depth: to 0.1 m below that, in inverse depth far beyond the median
    images: int
    runtime: str  # what ran the ONNX model


def export_onnx(
    module: nn.Module,
    input: InputSpec,  # noqa: A002 - the field's own name
    path: Path,
    *,
    metadata: Mapping[str, str],
    ranges: Mapping[str, tuple[float, float]] | None = None,
) -> Parity:
    """Write `module` (normalised [N, 3, H, W] to metres [N, 1, H, W]) as ONNX, whole or not at all.

    The model stores `metadata`; the input, the parity and the statistics of BatchNorm layers as edgekd.input,
    edgekd.parity and edgekd.statistics; and as edgekd.ranges the learned `ranges` of the inputs of convolutions, which
    are given by their names in the module. Raises ModelError when it cannot be exported or its depth differs from
    torch's, MissingRuntimeError without onnxscript, FileError or DiskFullError.
    """
    deployed = Deployed(copy.deepcopy(module).cpu(), input).eval()
    pictures = probe_pictures(input.height, input.width, _IMAGES)
    model = exported(deployed, torch.from_numpy(pictures[:2]))
    lower(model)
    tidy(model)
    enlarge_last(model)
    _check(model)
    with torch.no_grad():
        expected = deployed(torch.from_numpy(pictures)).numpy()
    if not np.isfinite(expected).all():
        raise ModelError(
            "The network outputs NaN or infinite depth for some pictures",
            fix="Check it and its teacher: they must output depth for every picture",
        )
    parity = _compare(model, pictures, expected)
    if not parity.max_relative <= _TOLERANCE:
        with torch.no_grad():
            again = deployed(torch.from_numpy(pictures)).numpy()
        if not np.allclose(again, expected, rtol=_TOLERANCE / 10):
            raise ModelError(
                "The network is not deterministic: depth of the same picture varies",
                fix="Apply dropout in training mode only: F.dropout(x, p, training=self.training)",
            )
        raise ModelError(
            f"The exported ONNX model differs from the network by {parity.max_relative:.2%} of the depth",
            fix="Report the network's operations; until this is fixed, use a student from the table",
        )
    layers = folded_layers(model, deployed, torch.from_numpy(pictures[:1]))
    statistics = folded_statistics(layers, _stored(deployed.network))
    learned = folded_ranges(layers, ranges or {})
    stored = {
        **metadata,
        **({STATISTICS_KEY: pack_statistics(statistics)} if statistics else {}),
        **({RANGES_KEY: pack_ranges(learned)} if learned else {}),
        "edgekd.input": json.dumps(input.to_json()),
        "edgekd.parity": json.dumps({"max_abs_metres": parity.max_abs_metres, "max_relative": parity.max_relative}),
    }
    onnx.helper.set_model_props(model, stored)
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return parity


def require_exportable(module: nn.Module, input: InputSpec) -> None:  # noqa: A002
    """Raise what `export_onnx` would raise, before the module is trained; takes a few seconds."""
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(module, input, Path(folder) / "model.onnx", metadata={})


def _stored(network: nn.Module) -> dict[nn.Module, ChannelStatistics]:
    """For each BatchNorm layer of a slim student, the teacher's statistics; empty for other networks."""
    if not isinstance(network, Slim):
        return {}
    return {network.network.get_submodule(name): found for name, found in network.stored.items()}


def _check(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = first_line(error)[:200]
        raise ModelError(f"The exported ONNX model is not valid ({reason})", fix="Report the network") from error


def _compare(model: onnx.ModelProto, pictures: NDArray[np.uint8], expected: NDArray[np.float32]) -> Parity:
    try:
        runtime, depth = _run(model, pictures)
    except Exception as error:  # each runtime raises its own errors
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"The exported ONNX model does not run ({reason})",
            fix="Build the network from ONNX operations, with a batch of any size",
        ) from error
    apart = np.abs(depth.astype(np.float64) - expected)
    size = np.abs(expected).astype(np.float64)
    # Beyond `far` this is |1/a - 1/b| in units of 1/far, because depth from tiny disparity magnifies any rounding.
    far = max(_FAR * float(np.median(size)), _NEAR)
    relative = apart / np.maximum(size, _NEAR) * np.minimum(1, far / np.maximum(size, _NEAR))
    return Parity(float(apart.max()), float(relative.max()), len(pictures), runtime)


def _run(model: onnx.ModelProto, pictures: NDArray[np.uint8]) -> tuple[str, NDArray[np.float32]]:
    """The runtime and the model's depth [N, H, W], one picture at a time, a batch size that the export did not see."""
    try:
        onnxruntime = import_onnxruntime()
    except ImportError:
        evaluator = onnx.reference.ReferenceEvaluator(model)
        parts = [evaluator.run(None, {"image": picture[None]})[0] for picture in pictures]
        return "onnx reference", np.concatenate(parts)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # failures are reported by us
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"image": picture[None]})[0] for picture in pictures]
    return f"onnxruntime {onnxruntime.__version__}", np.concatenate(parts)
