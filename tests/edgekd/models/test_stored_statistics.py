"""Exported models: statistics that folding would lose, and the order of upsampling and pointwise layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch", reason="torch exports")
from torch import nn  # noqa: E402

from edgekd.models.to_onnx import export_onnx  # noqa: E402
from targets.input import Framing, InputSpec  # noqa: E402
from targets.layers import conv_layers  # noqa: E402
from targets.reference import fold, stream_tensors  # noqa: E402
from targets.statistics import read_statistics  # noqa: E402

SPEC = InputSpec(Framing(24, 32))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.enlarge = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.softplus(self.head(self.enlarge(self.second(self.first(x)))))


def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    torch.manual_seed(0)
    net = Net().train()
    for layer in (net.first[1], net.second[1]):
        nn.init.uniform_(layer.weight, 0.5, 2)
        nn.init.normal_(layer.bias)
    x = torch.from_numpy(pictures()).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        for _ in range(200):  # until the running statistics match these pictures
            net(x)
    path = tmp_path_factory.mktemp("export") / "net.onnx"
    export_onnx(net.eval(), SPEC, path, metadata={})
    return onnx.load(path)


def test_statistics_are_those_of_the_pictures_trained_on(exported: onnx.ModelProto) -> None:
    statistics = read_statistics(exported)
    model = fold(exported)
    layers = conv_layers(model)
    assert list(statistics) == list(layers)[:2]  # named after the convolutions; the head has no BatchNorm
    names = [layers[name].output for name in statistics]
    parts = [np.concatenate(part) for part in zip(*stream_tensors(model, pictures(), names), strict=True)]
    for stored, seen in zip(statistics.values(), parts, strict=True):
        np.testing.assert_allclose(stored.mean, seen.mean(axis=(0, 2, 3)), atol=0.02)
        np.testing.assert_allclose(stored.deviation, seen.std(axis=(0, 2, 3)), rtol=0.02)


def test_the_head_works_on_the_small_map(exported: onnx.ModelProto) -> None:
    """The export itself compares its depth with torch's."""
    kinds = [node.op_type for node in exported.graph.node]
    assert kinds.index("Resize") > len(kinds) - 1 - kinds[::-1].index("Conv")
    shapes = {
        value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in exported.graph.value_info
    }
    (resize,) = [node for node in exported.graph.node if node.op_type == "Resize"]
    assert shapes[resize.input[0]][1:] == [1, 12, 16]
