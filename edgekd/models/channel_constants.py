"""Constants with one value per channel, such as a scale: torch-pruning does not see them and would leave them whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ChannelConstants", "combines"]

_AXES = {2: -1, 4: -3}  # axes of a map: that of its channels, unless they come last
_COMBINE = frozenset(["add", "div", "maximum", "minimum", "mul", "pow", "sub", "true_divide", "truediv"])
_CONVOLVE = frozenset(["conv2d", "conv_transpose2d"])
_COMPUTE = frozenset(
    [
        "abs", "clamp", "clone", "contiguous", "detach", "exp", "float", "log", "neg", "reciprocal", "reshape", "rsqrt",
        "sigmoid", "softplus", "sqrt", "square", "squeeze", "tanh", "to", "type_as", "unsqueeze", "view",
    ]
)  # fmt: skip
"""Functions that give each value of a constant a value of its own, in the same order."""


class ChannelConstants(nn.Module):
    """The constants of a network that are combined with the channels of a map, and what is left of these channels.

    They are its buffers, and parameters that torch-pruning misunderstands. Behind each combination a BatchNorm layer is
    put that holds the channels' numbers. torch-pruning cuts it together with the map; `cut` then leaves the same
    channels to the constant. It may be computed from others, as that of a frozen BatchNorm is.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.marks = nn.ModuleList()
        known = [*network.named_buffers(), *_parameters_seen_as_tokens(network)]
        self._constants = {id(constant): (name, constant) for name, constant in known}
        self._uses: list[dict[str, int]] = []  # for each mark, the constants and their axes
        self._computed: dict[int, tuple[Tensor, frozenset[int]]] = {}  # tensors are kept, so that ids stay theirs
        self._channels_last: dict[int, Tensor] = {}
        self._used = 0

    def start(self) -> None:
        """To be called before each run of the network."""
        self._used = 0
        self._computed.clear()
        self._channels_last.clear()

    def hidden(self, args: Sequence[Any]) -> list[Any]:
        """The arguments of a torch function, without a gradient to the constants."""
        return [one.detach() if isinstance(one, nn.Parameter) and id(one) in self._constants else one for one in args]

    def follow(self, name: str, args: Sequence[Any], result: Any) -> Any:
        """The result of a torch function of this name, behind a mark if it combined a map with a constant."""
        if not isinstance(result, Tensor):
            return result
        tensors = [one for one in args if isinstance(one, Tensor)]
        known = [one for one in tensors if self._sources(one)]
        if known and len(known) == len(tensors):
            if _plain(name) in _COMBINE | _COMPUTE or (_plain(name) == "getitem" and _adds_axes(args[1])):
                self._computed[id(result)] = (result, frozenset().union(*(self._sources(one) for one in known)))
            return result
        live = [one for one in tensors if one.requires_grad and not self._sources(one)]
        axis = self._channel_axis(live[0]) if known and live else None
        if axis is not None and result.ndim == live[0].ndim and result.shape[axis] == live[0].shape[axis]:
            uses = self._axes(name, live[0].shape[axis], axis, known[0])
            result = self._marked(result, axis, uses) if uses else result
        if self._becomes_last(name, live, result):
            self._channels_last[id(result)] = result
        return result

    @torch.no_grad()
    def cut(self, network: nn.Module) -> None:
        """Leave to the constants of a cut network the channels that are left of the maps, and make them part of its
        state, which holds the choice of channels.

        Raises ValueError when two maps with other channels share a constant.
        """
        left: dict[str, tuple[int, Tensor]] = {}
        for mark, uses in zip(self.marks, self._uses, strict=True):
            channels = mark.get_buffer("running_mean").round().long()
            for name, axis in uses.items():
                known_axis, known = left.setdefault(name, (axis, channels))
                if axis != known_axis or not torch.equal(known, channels):
                    raise ValueError(f"two maps that keep different channels share {name}")
        for name, (axis, channels) in left.items():
            path, _, own_name = name.rpartition(".")
            owner = network.get_submodule(path)
            constant: Tensor = getattr(owner, own_name)
            left_over = constant.detach().index_select(axis, channels)
            if isinstance(constant, nn.Parameter):
                setattr(owner, own_name, nn.Parameter(left_over, constant.requires_grad))
            else:
                owner.register_buffer(own_name, left_over)

    def _sources(self, tensor: Tensor) -> frozenset[int]:
        """The ids of the constants that a tensor is, or is computed from."""
        if id(tensor) in self._constants:
            return frozenset([id(tensor)])
        return self._computed.get(id(tensor), (tensor, frozenset[int]()))[1]

    def _channel_axis(self, x: Tensor) -> int | None:
        """The axis of a map's channels, counted from the last; None if unknown."""
        return -1 if id(x) in self._channels_last else _AXES.get(x.ndim)

    def _becomes_last(self, name: str, live: Sequence[Tensor], result: Tensor) -> bool:
        """Whether the channels of a result are its last axis, as between the permutations of ConvNeXt."""
        if name in ("permute", "transpose", "movedim", "moveaxis"):  # views: the strides tell where an axis came from
            came = [one for one in live if one.ndim == result.ndim == 4 and id(one) not in self._channels_last]
            return any((one.shape[1], one.stride(1)) == (result.shape[3], result.stride(3)) for one in came)
        alike = any(one.shape == result.shape for one in live if id(one) in self._channels_last)
        return alike or name in ("linear", "layer_norm")

    def _axes(self, name: str, channels: int, at: int, constant: Tensor) -> dict[str, int]:
        """For each constant by name, its axis that goes with the `channels` of a map, which has them in the axis `at`;
        empty if there is none."""
        if combines(name):
            axis = constant.ndim + at
        elif name in _CONVOLVE and constant.ndim == 4 and constant.shape[1] == 1:  # each channel by itself
            axis = 0
        else:
            return {}
        if channels == 1 or axis < 0 or constant.shape[axis] != channels:
            return {}
        if id(constant) in self._constants:
            return {self._constants[id(constant)][0]: axis}
        found = {}
        for source in self._sources(constant):
            own_name, own = self._constants[source]
            alike = [number for number, size in enumerate(own.shape) if size == channels]
            if len(alike) > 1:  # which of them is the channels' cannot be told
                return {}
            found.update(dict.fromkeys([own_name] * len(alike), *alike))
        return found

    def _marked(self, result: Tensor, axis: int, uses: dict[str, int]) -> Tensor:
        channels = result.shape[axis]
        if self._used == len(self.marks):
            mark = (nn.BatchNorm2d if result.ndim == 4 else nn.BatchNorm1d)(channels, affine=False).eval()
            mark.running_mean = torch.arange(channels, dtype=torch.float32)
            self.marks.append(mark)
            self._uses.append(uses)
        mark = self.marks[self._used]  # type: ignore[assignment]
        self._used += 1
        marked: Tensor = mark(result.movedim(axis, 1)).movedim(1, axis)
        return marked


def combines(name: str) -> bool:
    """Whether a torch function of this name combines the values of two tensors, each for itself."""
    return _plain(name) in _COMBINE


def _parameters_seen_as_tokens(network: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Parameters [C, 1, 1] of the network's own modules. torch-pruning takes those of three axes for the position
    embedding of a transformer, and then misplaces the channels of every concatenation behind them."""
    found: list[tuple[str, nn.Parameter]] = []
    for path, owner in network.named_modules():
        ready_made = any(
            base is not nn.Module and base.__module__.startswith("torch.nn.") for base in type(owner).mro()
        )
        for name, parameter in owner.named_parameters(path, recurse=False):
            if parameter.ndim == 3 and not ready_made:
                found.append((name, parameter))
    return found


def _plain(name: str) -> str:
    """The name of a function without the marks of its forms: mul for __imul__, sub for rsub."""
    bare = name.strip("_")
    return bare[1:] if bare[1:] in _COMBINE else bare


def _adds_axes(index: Any) -> bool:
    """Whether an index takes all values in their order, such as [None, :, None]."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is Ellipsis or (isinstance(part, slice) and part == slice(None)) for part in parts)
