"""ARCHITECTURES, the table of all networks that edgekd can build, for teachers' weights to be loaded into and for
students to start from.

To add one, write a function from InputSpec to a module in the file of its family, and add a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from calibration.errors import UnknownNameError
from edgekd.models.efficientnet_lite import lite0, lite0_small, pretrain
from edgekd.models.fcrn import fcrn_resnet18, fcrn_resnet50
from edgekd.models.hu import hu_mobilenet_v2, hu_resnet34
from edgekd.models.mobile import mobile_l, mobile_m, mobile_s
from edgekd.models.mobilenet_v2 import mobilenet_v2_student
from edgekd.models.rooms import RoomsNet
from targets.input import InputSpec

__all__ = ["ARCHITECTURES", "Architecture", "architecture"]


@dataclass(frozen=True)
class Architecture:
    """How a network is built, how its weights are initialised if not at random, and the learning rate that suits it."""

    summary: str
    build: Callable[[InputSpec], nn.Module]
    pretrain: Callable[[nn.Module], None] | None = None
    learning_rate: float = 1e-2

    def start(self, input: InputSpec, seed: int = 0) -> nn.Module:  # noqa: A002 - the field's own name
        """An untrained network; the same input and seed give the same weights.

        Raises MissingRuntimeError when the ImageNet weights that it starts from are not installed.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self.build(input)
        if self.pretrain is not None:
            self.pretrain(network)
        return network


ARCHITECTURES: dict[str, Architecture] = {
    "mobile-s": Architecture("0.23 M parameters, made for small devices", mobile_s),
    "mobile-m": Architecture("0.48 M", mobile_m),
    "mobile-l": Architecture("2.12 M", mobile_l),
    "mobilenetv2-035": Architecture("0.24 M, MobileNet-V2 of width 0.35", partial(mobilenet_v2_student, width=0.35)),
    "mobilenetv2-050": Architecture("0.41 M, of width 0.5", partial(mobilenet_v2_student, width=0.5)),
    "mobilenetv2-100": Architecture("1.42 M", partial(mobilenet_v2_student, width=1.0)),
    "lite0-small": Architecture("0.74 M, EfficientNet-Lite0 to 1/16, ImageNet weights", lite0_small, pretrain, 1e-3),
    "lite0": Architecture("2.46 M, EfficientNet-Lite0 to 1/32, ImageNet weights", lite0, pretrain, 1e-3),
    "hu-mobilenetv2": Architecture("1.7 M, Hu et al. 2021", hu_mobilenet_v2, learning_rate=3e-3),
    "hu-resnet34": Architecture("21.9 M, Hu et al. 2021", hu_resnet34, learning_rate=3e-3),
    "fcrn-resnet18": Architecture("13.7 M, Laina et al. 2016", fcrn_resnet18, learning_rate=3e-3),
    "fcrn-resnet50": Architecture("63.6 M, Laina et al. 2016", fcrn_resnet50, learning_rate=3e-3),
    "rooms": Architecture("1.30 M, of the built-in teacher", RoomsNet),
}  # fmt: skip


def architecture(name: str) -> Architecture:
    """The entry of that name. Raises UnknownNameError with the near matches."""
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", name, ARCHITECTURES, or_else="pass package.module:factory")
    return ARCHITECTURES[name]
