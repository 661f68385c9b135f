"""A student in simulated int8: it agrees with the model built from it, and its ranges are learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from calibration.progress import Quiet
from edgekd.distill.rates import over_steps
from edgekd.distill.settings import DistillSettings, QuantisationSettings
from edgekd.distill.simulated_int8 import SimulatedInt8
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.tensors import Normalise, to_tensor
from edgekd.models.stored import FoldedLayer, folded_ranges
from edgekd.models.to_onnx import export_onnx
from targets.calibrated import infer_quantised
from targets.encodings import U8S8
from targets.graph import read_graph
from targets.input import Framing, InputSpec
from targets.quantise import calibrate

SPEC = InputSpec(Framing(32, 32))
CPU = torch.device("cpu")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.third = nn.Sequential(nn.Conv2d(16, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.softplus(self.head(self.enlarge(self.third(self.second(self.first(x)))))) + 0.1


def pictures(count: int) -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    made = Net().train()
    with torch.no_grad():
        for _ in range(50):
            made(Normalise(SPEC)(to_tensor(pictures(16), CPU)))
    return made.eval()


def test_it_is_what_the_built_model_computes(net: Net, tmp_path: Path) -> None:
    images = pictures(16)
    simulated = SimulatedInt8(net, SPEC)
    with torch.no_grad():
        expected = simulated.run(net, Normalise(SPEC)(to_tensor(images, CPU)))[:, 0].numpy()
        exact = net(Normalise(SPEC)(to_tensor(images, CPU)))[:, 0].numpy()
    export_onnx(net, SPEC, tmp_path / "student.onnx", metadata={}, ranges=simulated.ranges())
    calibrated = calibrate(read_graph(tmp_path / "student.onnx"), images, Quiet())
    built = infer_quantised(calibrated, U8S8, images)
    # Far less than rounding moves it: what remains is the rounding of biases and of the last layer's input.
    assert np.abs(built - expected).mean() < 0.5 * np.abs(expected - exact).mean()


def test_a_range_is_not_that_of_a_layer_whose_name_ends_alike() -> None:
    layers = {
        node: FoldedLayer(name, nn.Conv2d(1, 1, 1), None, None)
        for node, name in {"a": "network.up.conv", "b": "network.conv"}.items()
    }
    assert folded_ranges(layers, {"up.conv": (0.0, 1.0), "conv": (0.0, 9.0)}) == {"a": (0.0, 1.0), "b": (0.0, 9.0)}


def test_learned_ranges_are_the_built_models(net: Net, tmp_path: Path) -> None:
    ranges = {"second.0": (0.0, 1.25), "third.0": (0.0, 0.75), "head": (0.0, 9.0)}
    export_onnx(net, SPEC, tmp_path / "student.onnx", metadata={}, ranges=ranges)
    calibrated = calibrate(read_graph(tmp_path / "student.onnx"), pictures(16), Quiet())
    found = set(calibrated.ranges.values())
    assert {(0.0, 1.25), (0.0, 0.75)} <= found


def test_the_first_and_the_last_layer_stay_in_float(net: Net) -> None:
    simulated = SimulatedInt8(net, SPEC)
    simulated.run(net, Normalise(SPEC)(to_tensor(pictures(4), CPU)))
    assert list(simulated.ranges()) == ["second.0", "third.0"]


def test_weights_are_left_as_they_were_and_hooks_are_gone(net: Net) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = Normalise(SPEC)(to_tensor(pictures(4), CPU))
    exact = net(x)
    SimulatedInt8(net, SPEC).run(net, x)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert torch.equal(net(x), exact)


def test_a_layer_with_two_names_can_be_trained_for_more_than_a_step() -> None:
    class Named(Net):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([self.second, self.third])  # as networks do that choose from a backbone

    torch.manual_seed(0)
    net = Named()
    fit = StudentFit(net, SPEC, DistillSettings(features=None, quantisation=QuantisationSettings(5, 1.0)), CPU)
    images, target = to_tensor(pictures(4), CPU), torch.full((4, 1, 32, 32), 3.0)
    before = net.second[0].weight.clone()
    for _ in range(2):
        fit.accumulate(images, target, int8=True)
        fit.update(1.0)
    assert isinstance(net.second[0].weight, nn.Parameter)
    assert not torch.equal(net.second[0].weight, before)


def test_the_range_of_a_layer_that_runs_twice_starts_from_both() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(0.01 * self.again(self.again(self.first(x)) * 0.01))

    torch.manual_seed(0)
    network, x = Twice(), torch.rand(4, 3, 32, 32)
    seen: list[torch.Tensor] = []
    network.again.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    network(x)
    simulated = SimulatedInt8(network, SPEC)
    simulated.run(network, x)
    both = torch.cat([values.flatten() for values in seen[:2]])
    assert simulated.ranges()["again"] == pytest.approx((min(0, float(both.min())), float(both.max())), rel=0.01)


def test_layers_may_be_given_their_input_by_keyword(net: Net) -> None:
    class ByKeyword(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in (*self.first, *self.second, *self.third):
                x = layer(input=x)
            return nn.functional.softplus(self.head(input=self.enlarge(x))) + 0.1

    named = ByKeyword().eval()
    named.load_state_dict(net.state_dict())
    x = Normalise(SPEC)(to_tensor(pictures(4), CPU))
    assert torch.equal(SimulatedInt8(named, SPEC).run(named, x), SimulatedInt8(net, SPEC).run(net, x))


def test_ranges_and_weights_are_trained_and_saved(net: Net) -> None:
    settings = DistillSettings(steps=10, quantisation=QuantisationSettings(5, 1.0), features=None)
    fit = StudentFit(net, SPEC, settings, CPU)
    images = to_tensor(pictures(8), CPU)
    target = torch.full((8, 1, 32, 32), 3.0)
    losses = []
    for step in range(30):
        losses.append(fit.accumulate(images, target, int8=True)["loss"])
        if step == 0:
            first = dict(fit.int8.ranges())
        fit.update(1.0)
    assert losses[-1] < losses[0]
    assert all(fit.int8.ranges()[name] != ends for name, ends in first.items())
    again = StudentFit(Net(), SPEC, settings, CPU)
    again.load_state_dict(fit.state_dict())
    assert again.int8.ranges() == fit.int8.ranges()


def test_the_rate_starts_anew_at_its_share_and_falls() -> None:
    settings = DistillSettings(steps=100, quantisation=QuantisationSettings(50, 0.1))
    for steps in (1, 5, 15, 35, 2000):  # the full rate is reached and never exceeded
        short = DistillSettings(steps=steps)
        assert max(over_steps(step / steps, short) for step in range(steps)) == pytest.approx(1, abs=0.01)
    assert over_steps(1.0, settings) == pytest.approx(0.1)
    assert over_steps(1.49, settings) < 0.002
    assert over_steps(0.99, settings) < 0.02
    assert settings.student_steps == 150
