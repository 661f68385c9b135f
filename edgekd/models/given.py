"""What a layer is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["given_to"]


def given_to(inputs: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
    """The input of a convolution or BatchNorm, from the arguments that a hook with keywords receives."""
    given: Tensor = inputs[0] if inputs else named["input"]
    return given
