"""A network as torch-pruning is shown it: without the channels that it would follow wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgekd.models.channel_constants import ChannelConstants, combines
from edgekd.models.evaluating import evaluating
from edgekd.models.given import given_to
from targets.input import InputSpec

__all__ = ["Followed"]


class Followed(nn.Module):
    """A network as torch-pruning is shown it: it gives its depth and the outputs of the layers `aside`, and hides what
    torch-pruning would follow wrongly.

    That is channels that are taken apart or arranged anew (torch-pruning does not see all parts of a split in their
    order, and the network may have their number written into it), and convolutions in groups that read more or fewer
    channels than they give. There one map ends and another begins. Both are added to the zeros of a layer of their own,
    one of `anchors`: as long as these are not cut, neither are the maps, nor what is joined to them. A map of one
    channel that gates all channels of another ends there, too.

    `constants` follows the network's constants with one value per channel.
    """

    def __init__(self, network: nn.Module, aside: Sequence[nn.Module], input: InputSpec) -> None:  # noqa: A002
        super().__init__()
        self.network = network
        self.anchors = nn.ModuleList()
        self.constants = ChannelConstants(network)
        self._aside = tuple(aside)
        self._used = 0
        with torch.enable_grad(), evaluating(network):
            self(torch.zeros(1, 3, input.height, input.width))  # creates the anchors

    def forward(self, pictures: Tensor) -> list[Tensor]:
        self._used = 0
        self.constants.start()
        ends: list[Tensor] = []

        def read(x: Tensor) -> None:
            joined = self._joined(x)
            ends.append(joined if joined.ndim == 4 else joined.sum().view(1))  # torch-pruning 1.5 takes no scalar

        def hide(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Tensor) -> Tensor:
            read(given_to(given, named))
            return self._joined(out.detach())

        with ExitStack() as hooks:
            for layer in self._aside:
                hooks.callback(layer.register_forward_hook(lambda layer, given, out: ends.append(out)).remove)
            for layer in self.network.modules():
                if _unevenly_grouped(layer):
                    hooks.callback(layer.register_forward_hook(hide, with_kwargs=True).remove)
                if isinstance(layer, nn.PReLU) and layer.num_parameters == 1:
                    hooks.callback(layer.register_forward_hook(_as_relu, with_kwargs=True).remove)
            hooks.enter_context(_Parts(read, self._joined, self.constants))
            return [self.network(pictures), *ends]

    def _joined(self, x: Tensor) -> Tensor:
        if self._used == len(self.anchors):
            anchor = nn.utils.skip_init(nn.Conv2d, 1, x.shape[1] if x.ndim == 4 else 1, 1)  # draws no random numbers
            for parameter in anchor.parameters():
                nn.init.zeros_(parameter)
            self.anchors.append(anchor)
        anchor = self.anchors[self._used]
        self._used += 1
        joined: Tensor = x + anchor(x.new_zeros(1, 1, 1, 1))
        return joined


class _Parts(TorchFunctionMode):
    """Passes maps from which functions take some channels, or whose channels they arrange anew, to `read`. What is made
    of them is cut off from them and passed through `joined`, as are concatenated maps that would be miscounted.

    Gates of one channel are cut off from what they gate. Constants are shown to `constants`.
    """

    _TAKE = frozenset(["chunk", "split", "tensor_split", "split_with_sizes", "narrow", "index_select", "__getitem__"])
    _ORDER = frozenset(["flip", "roll"])
    _MAKE = frozenset(["glu", "pad", "pixel_shuffle", "pixel_unshuffle", "repeat", "repeat_interleave", "tile"])
    _SPREAD = frozenset(["repeat", "repeat_interleave", "tile"])
    _ANYWAY = frozenset(["channel_shuffle", "zeros_like", "ones_like"])  # the last two: first states of a recurrence
    _ARRANGE = frozenset(["view", "reshape", "flatten", "unflatten"])  # in more than four axes: channel shuffles
    _JOIN = frozenset(["cat", "concat", "concatenate"])

    def __init__(
        self, read: Callable[[Tensor], None], joined: Callable[[Tensor], Tensor], constants: ChannelConstants
    ) -> None:
        super().__init__()
        self._read, self._joined, self._constants = read, joined, constants
        # By id; the maps are kept, so that no other gets their id.
        self._gates: dict[int, Tensor] = {}  # maps that have one channel for torch-pruning, too
        self._counted: dict[int, Tensor] = {}  # maps of whose channels torch-pruning has the right number

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        if name in self._JOIN:
            args = args or (kwargs.pop("tensors"),)
            args = ([self._countable(one) for one in args[0]], *args[1:])
        args = self._ungated(name, args)
        given = self._constants.follow(name, args, function(*self._constants.hidden(args), **kwargs))
        self._note_gate(name, args, given)
        shown = self._taken_apart(function, name, args, kwargs, given)
        self._count(name, args, shown, anew=shown is not given)
        return shown

    def _taken_apart(self, function: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], given: Any) -> Any:
        """What torch-pruning is shown of the result `given` of a function: all of it, or maps of their own."""
        # Over the channels in their order, as in efficient channel attention: it takes any number of them, and learns
        # to do with other neighbours.
        if name == "conv1d" and given.shape[1] == 1:
            return given.detach()
        if name not in self._TAKE | self._ORDER | self._MAKE | self._ANYWAY | self._ARRANGE:
            return given
        read = next(one for one in (*args, *kwargs.values()) if isinstance(one, Tensor))
        parts: list[Tensor] = [given] if isinstance(given, Tensor) else list(given)
        axes = {read.ndim, *(part.ndim for part in parts)}
        arranged = name in self._ARRANGE and axes > {4} and min(axes) == 4
        if not read.requires_grad or not (arranged or axes == {4}):
            return given
        if name in self._TAKE | self._ORDER:
            if not _moves_channels(function, args, kwargs, read):
                return given
        elif name not in self._ANYWAY and all(part.shape[1] == read.shape[1] for part in parts):
            if name in self._SPREAD and len(given) == len(read):  # torch-pruning would look for the copies in channels
                return nn.functional.interpolate(read, size=given.shape[2:])
            return given
        self._read(read)
        parts = [self._joined(part.detach()) if part.ndim == 4 else part for part in parts]
        return parts[0] if isinstance(given, Tensor) else tuple(parts)

    def _countable(self, x: Tensor) -> Tensor:
        """A map as it may be concatenated: torch-pruning would look for what is behind one that it counts wrongly in
        other channels. Where an encoder has no features of a size, its decoder may be given a map without channels."""
        known = x.ndim != 4 or x.shape[1] == 0 or not x.is_floating_point() or id(x) in self._counted
        return x if known else self._joined(x)

    def _count(self, name: str, args: tuple[Any, ...], shown: Any, anew: bool) -> None:
        """Note whether torch-pruning knows the number of channels of a result: they are those of a layer, or those of
        another map one for one. The picture has none for it, the mean of all channels too many."""
        if name == "__setitem__":
            self._counted.pop(id(args[0]), None)
        known = {one.shape[1] for one in args if isinstance(one, Tensor) and id(one) in self._counted}
        layer = anew or name in self._JOIN or name.startswith("conv")
        for x in [shown] if isinstance(shown, Tensor) else shown if isinstance(shown, (tuple, list)) else ():
            if isinstance(x, Tensor) and x.ndim == 4 and x.requires_grad and (layer or x.shape[1] in known):
                self._counted[id(x)] = x

    def _ungated(self, name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, with gates cut off where they meet a map with more channels: torch-pruning would take each of
        its channels for that of the gate, and leave them whole."""
        wide = any(isinstance(one, Tensor) and one.ndim == 4 and one.shape[1] > 1 and one.requires_grad for one in args)
        met = name in ("expand", "expand_as") or (wide and combines(name))
        if not met:
            return args
        for gate in args:
            if id(gate) in self._gates:
                self._read(gate)
        return tuple(one.detach() if id(one) in self._gates else one for one in args)

    def _note_gate(self, name: str, args: tuple[Any, ...], given: Any) -> None:
        if not isinstance(given, Tensor) or given.ndim != 4 or given.shape[1] != 1 or not given.requires_grad:
            return
        maps = [one for one in args if isinstance(one, Tensor) and one.ndim == 4 and one.requires_grad]
        if name.startswith("conv") or (maps and all(id(one) in self._gates for one in maps)):
            self._gates[id(given)] = given


def _as_relu(layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any], out: Tensor) -> Tensor:
    """In place of a PReLU with one slope, whose channels torch-pruning counts as one."""
    return given_to(given, named).relu()


def _moves_channels(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], read: Tensor) -> bool:
    """Whether a function takes some channels of the map `read` or changes their order, tried on a map that holds the
    channels' numbers."""
    numbers = torch.arange(read.shape[1], device=read.device).view(1, -1, 1, 1)
    tried = numbers.expand(read.shape)
    given = function(
        *(tried if one is read else one for one in args),
        **{name: tried if one is read else one for name, one in kwargs.items()},
    )
    parts = [given] if isinstance(given, Tensor) else given
    return any(part.shape[1] != read.shape[1] or not (part == numbers).all() for part in parts)


def _unevenly_grouped(layer: nn.Module) -> bool:
    """Whether a convolution has groups that torch-pruning does not count correctly."""
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)) or layer.groups == 1:
        return False
    if layer.in_channels == layer.out_channels == layer.groups:
        return False
    return isinstance(layer, nn.ConvTranspose2d) or layer.groups in (layer.in_channels, layer.out_channels)
