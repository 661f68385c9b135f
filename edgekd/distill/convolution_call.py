"""What a convolution layer reads, and how. A subclass may pad by itself, as those of timm do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["ConvolutionCall", "call_of"]

_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_DEFAULTS: Mapping[str, Any] = {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}


@dataclass(frozen=True)
class ConvolutionCall:
    """What a layer passes to torch.nn.functional.conv2d: its input [N, C, H, W], padded already or not, and how it is
    read."""

    input: Tensor
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] | str
    dilation: tuple[int, int]

    def columns(self, pictures: slice, places: Tensor) -> Tensor:
        """The values behind some output pixels of some of the pictures, [n, C * taps, places], in the order of the
        convolution's weights. `places` counts the output's pixels row by row."""
        (rows, columns), (down, right) = self.kernel, self.dilation
        if isinstance(self.padding, str):
            same = self.padding == "same"
            height, width = (down * (rows - 1), right * (columns - 1)) if same else (0, 0)
            edges = (width // 2, width - width // 2, height // 2, height - height // 2)
        else:
            above, left = self.padding
            edges = (left, left, above, above)
        padded = F.pad(self.input[pictures], edges)
        width = (padded.shape[3] - right * (columns - 1) - 1) // self.stride[1] + 1
        corner = places // width * self.stride[0] * padded.shape[3] + places % width * self.stride[1]
        taps = [
            corner + row * down * padded.shape[3] + column * right for row in range(rows) for column in range(columns)
        ]
        flat = padded.flatten(2)
        return torch.stack([flat[:, :, tap] for tap in taps], 2).flatten(1, 2)


def call_of(convolution: nn.Conv2d, x: Tensor) -> ConvolutionCall | None:
    """How a layer computes its output of x. None if it does something else than convolving with its own weights, such
    as standardising them first."""
    with _Calls() as calls:
        output = convolution.forward(x)
    if len(calls.made) != 1 or calls.made[0][1] is not output:
        return None
    given = calls.made[0][0]
    own = given["weight"] is convolution.weight and given["bias"] is convolution.bias
    if not own or given["groups"] != convolution.groups:
        return None
    padding = given["padding"]
    return ConvolutionCall(
        given["input"],
        (convolution.weight.shape[2], convolution.weight.shape[3]),
        _pair(given["stride"]),
        padding if isinstance(padding, str) else _pair(padding),
        _pair(given["dilation"]),
    )


class _Calls(TorchFunctionMode):
    """Notes the arguments of each call of conv2d, and what it returned."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[dict[str, Any], Any]] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        if function is F.conv2d:
            given = {**_DEFAULTS, **dict(zip(_ARGUMENTS, args, strict=False)), **kwargs}
            self.made.append((given, output))
        return output


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    first, *others = value
    return int(first), int(others[0] if others else first)
