"""One ONNX node as the builders see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from calibration.errors import ModelError

__all__ = ["MOST_ELEMENTS", "Builder", "Function", "Op", "Operand", "layer_of"]

MOST_ELEMENTS = 1 << 28
"""Elements per picture (1 GiB of float32); a larger declared shape is refused instead of allocated."""

_ANEW = "Export the network again without it, or pass the teacher as package.module:factory"


@dataclass(frozen=True)
class Operand:
    """An input of a node: its shape for a batch of one, and its value if that is known without a picture."""

    shape: tuple[int, ...]
    constant: NDArray[Any] | None = None


@dataclass(frozen=True)
class Op:
    """A node with its attributes as Python values. `operands` holds None for an omitted optional input."""

    kind: str
    name: str
    opset: int
    operands: tuple[Operand | None, ...]
    outputs: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)
    most: int = MOST_ELEMENTS  # elements that its result may have
    batch: int = 0  # the batch axis of operands that depend on the picture

    @property
    def data(self) -> Operand:
        """The first input, which is the data for most operations."""
        return self.operand(0)

    def operand(self, position: int) -> Operand:
        operand = self.operands[position] if position < len(self.operands) else None
        if operand is None:
            raise self.refusal(f"has no input {position}")
        return operand

    def constant(self, position: int) -> NDArray[Any] | None:
        """The value of an input, or None if it was omitted. Raises ModelError when it depends on the picture."""
        operand = self.operands[position] if position < len(self.operands) else None
        if operand is None:
            return None
        if operand.constant is None:
            raise self.refusal(f"has an input {position} that depends on the picture")
        return operand.constant

    def weights(self, position: int) -> Tensor:
        """A required constant input, as a float32 tensor."""
        value = self.constant(position)
        if value is None:
            raise self.refusal(f"has no input {position}")
        return torch.from_numpy(np.array(value, dtype=np.float32))

    def integers(self, position: int, attribute: str) -> tuple[int, ...] | None:
        """Integers that older opsets keep in an attribute and newer ones in an input; None if neither exists."""
        if attribute in self.attributes:
            value = self.attributes[attribute]
            return tuple(value) if isinstance(value, (list, tuple)) else (int(value),)
        constant = self.constant(position)
        return None if constant is None else tuple(int(item) for item in constant.reshape(-1))

    def bounded(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """`shape` itself. Raises ModelError when it is empty, negative or implausibly large."""
        if min(shape, default=1) < 1 or math.prod(shape) > self.most:
            raise self.refusal(f"declares a result of shape {list(shape)}")
        return shape

    def broadcast(self) -> None:
        """Raise ModelError when the operands' shapes do not broadcast, or broadcast to one that is too large."""
        try:
            shape = np.broadcast_shapes(*(operand.shape for operand in self.operands if operand is not None))
        except ValueError as error:
            raise self.refusal(f"has operands of mismatched shapes ({error})") from error
        if math.prod(shape) > self.most:
            raise self.refusal(f"broadcasts its operands to {list(shape)}")

    def refusal(self, reason: str, *, fix: str = _ANEW) -> ModelError:
        """The error for a node that cannot be imported."""
        return ModelError(f"The ONNX node {self.name} ({self.kind}) {reason}", fix=fix)


Builder = Callable[[Op], nn.Module]
"""Makes a node's module, which is called with the node's inputs that depend on the picture, in order."""


class Function(nn.Module):
    """A torch function with fixed settings, as a module."""

    def __init__(self, function: Callable[..., Any], **settings: Any) -> None:
        super().__init__()
        self.function, self.settings = function, settings

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors, **self.settings)

    def extra_repr(self) -> str:
        return ", ".join([self.function.__name__, *(f"{name}={value}" for name, value in self.settings.items())])


def layer_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node of an imported network calls; None if it calls none."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None
