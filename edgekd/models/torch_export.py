"""Wraps torch's two exporters to ONNX: the one that captures the program and, for torch 2.4, the one that traces it."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from calibration.errors import MissingRuntimeError, ModelError
from edgekd.interrupt import deferred_interrupt
from edgekd.models.opset import EXPORTED_OPSET, OPSET
from edgekd.models.pictures import NormalisePictures
from edgekd.models.plain_network import NOT_SCRIPTED, scripted_part
from targets.input import InputSpec

__all__ = ["Deployed", "exported"]

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # in torch's error messages


class Deployed(nn.Module):
    """The network as deployed, from uint8 pictures [N, H, W, 3] to depth [N, H, W]."""

    def __init__(self, network: nn.Module, input: InputSpec) -> None:  # noqa: A002 - the field's own name
        super().__init__()
        self.normalise, self.network = NormalisePictures(input), network

    def forward(self, image: Tensor) -> Tensor:
        depth: Tensor = self.network(self.normalise(image))
        return depth.squeeze(1)


def exported(deployed: Deployed, example: Tensor) -> onnx.ModelProto:
    """Export a deployed network with torch, for batches of any size; `example` is uint8 [2, H, W, 3].

    Raises ModelError when it cannot be exported, MissingRuntimeError without onnxscript.
    """
    if scripted := scripted_part(deployed.network):
        raise ModelError(f"The network cannot be exported to ONNX: {scripted}", fix=NOT_SCRIPTED)
    # torch 2.4 has only an early form of the exporter that newer versions recommend, without dynamic_shapes.
    export = _captured if "dynamic_shapes" in inspect.signature(torch.onnx.export).parameters else _traced
    try:
        with _quiet(), _FloatBounds(), deferred_interrupt() as interrupted:  # torch reports Ctrl-C as a failed export
            model = export(deployed, example)
    except ModuleNotFoundError as error:
        raise MissingRuntimeError(
            f"{error.name} is needed to write ONNX", fix="pip install 'edgekd[distill]'"
        ) from error
    except (RuntimeError, ValueError, TypeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(
            f"The network cannot be exported to ONNX ({_reason(error)})",
            fix="Build it from ONNX operations, with a batch of any size",
        ) from error
    if interrupted():
        raise KeyboardInterrupt
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise ModelError(
            "The network's operations depend on the batch size it was exported with",
            fix="Build it without loops over the batch and without its chunk or split; x[:n] and x[n:] can be exported",
        )
    return model


def _reason(error: BaseException) -> str:
    """The first line of the error's cause, as torch's own first line only names the step that failed."""
    lines = _COLOURS.sub("", str(error.__cause__ or error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class _FloatBounds(TorchFunctionMode):
    """Makes all bounds of clamps floats: for clamp(x, 1e-3, 80), with two types, torch's exporter has no operation."""

    _CLAMPS = frozenset(
        [torch.clamp, torch.clip, torch.clamp_, torch.clip_, Tensor.clamp, Tensor.clip, Tensor.clamp_, Tensor.clip_]
    )

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in self._CLAMPS and args and isinstance(args[0], Tensor) and args[0].is_floating_point():
            args = (args[0], *map(_as_float, args[1:]))
            kwargs = {name: _as_float(value) for name, value in kwargs.items()}
        return function(*args, **kwargs)


def _as_float(bound: Any) -> Any:
    return float(bound) if isinstance(bound, int) else bound


def _captured(deployed: Deployed, example: Tensor) -> onnx.ModelProto:
    program = torch.onnx.export(
        deployed,
        (example,),
        dynamo=True,
        opset_version=EXPORTED_OPSET,
        input_names=["image"],
        output_names=["depth"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    return model


def _traced(deployed: Deployed, example: Tensor) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "traced.onnx"
        torch.onnx.export(
            _Sliced(deployed).eval(),
            (example,),
            path,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["depth"],
            dynamic_axes={"image": {0: "batch"}, "depth": {0: "batch"}},
        )
        model = onnx.load(path)
    depth = model.graph.output[0].type.tensor_type
    for dim, size in zip(depth.shape.dim[1:], example.shape[1:3], strict=True):
        dim.dim_value = size  # the tracer only gives them names
    return model


class _Sliced(nn.Module):
    """Deployed with a slice instead of a squeeze, of which the tracing exporter makes a conditional."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.normalise, self.network = deployed.normalise, deployed.network

    def forward(self, image: Tensor) -> Tensor:
        depth: Tensor = self.network(self.normalise(image))
        return depth[:, 0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter logs, warns of and prints, which is for its developers; failures are raised anyway."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
