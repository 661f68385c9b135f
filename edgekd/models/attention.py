"""Detects attention in a network by running it: a product of two tensors that depend on the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgekd.models.evaluating import device_of, evaluating
from targets.input import InputSpec

__all__ = ["product_of_pictures"]

_PRODUCTS = frozenset(
    ["matmul", "__matmul__", "bmm", "baddbmm", "einsum", "multi_head_attention_forward", "scaled_dot_product_attention"]
)


def product_of_pictures(network: nn.Module, input: InputSpec) -> str | None:  # noqa: A002
    """The torch function that first multiplies two tensors of the picture with each other; None if none does.

    The network's parameters must be frozen.
    """
    picture = torch.zeros(1, 3, input.height, input.width, device=device_of(network), requires_grad=True)
    products = _Products()
    with evaluating(network), torch.enable_grad(), products:
        network(picture)
    return products.first


class _Products(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.first: str | None = None

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(function, "__name__", "")
        if self.first is None and name in _PRODUCTS and sum(map(_of_picture, _flat((args, *kwargs.values())))) > 1:
            self.first = name
        return function(*args, **kwargs)


def _flat(values: Any) -> list[Any]:
    return [one for value in values for one in (_flat(value) if isinstance(value, (tuple, list)) else [value])]


def _of_picture(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad
