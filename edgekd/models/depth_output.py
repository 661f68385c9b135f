"""Which of the tensors that a network outputs is its depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from targets.input import InputSpec

__all__ = ["DepthOutput", "find_depth"]


@dataclass(frozen=True)
class DepthOutput:
    """One tensor of an output: the keys and indices that lead to it, its shape for one picture, and the rest."""

    place: tuple[Any, ...] = ()
    shape: tuple[int, ...] = ()
    dtype: torch.dtype = torch.float32
    others: int = 0  # tensors in the same output
    is_map: bool = False  # whether it can be one depth map of the input

    @property
    def written(self) -> str:
        """Where it lies, as Python writes it."""
        return "output" + "".join(f"[{key!r}]" for key in self.place)


def find_depth(output: Any, spec: InputSpec) -> DepthOutput:
    """The largest depth map, the first of several, as for an ONNX file. Without one, the first tensor."""
    found = list(_tensors(output))
    maps = [item for item in found if _is_one_map(_of_one_picture(item[1]), spec)]
    place, depth = max(maps or found[:1], key=lambda item: item[1].shape[-1])
    return DepthOutput(place, _of_one_picture(depth), depth.dtype, len(found) - 1, bool(maps))


def _of_one_picture(tensor: Tensor) -> tuple[int, ...]:
    return (1, *tensor.shape[1:])


def _tensors(output: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    """The tensors in tuples, lists and mappings, each with the keys and indices that lead to it."""
    if isinstance(output, Tensor):
        yield place, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors(value, (*place, key))
    elif isinstance(output, (tuple, list)):
        for number, value in enumerate(output):
            yield from _tensors(value, (*place, number))


def _is_one_map(shape: tuple[int, ...], spec: InputSpec) -> bool:
    """Whether an output is one depth map of about the input's aspect, from an eighth of its height to all of it."""
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[1] != 1):
        return False
    height, width = shape[-2:]
    same_aspect = abs(height / width - spec.height / spec.width) < 0.1 * spec.height / spec.width
    return same_aspect and spec.height / 8 <= height <= spec.height
