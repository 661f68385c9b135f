"""What a teacher may give as its depth, how that is computed, and depth that cannot serve."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from notes import Notes
from onnx import helper, numpy_helper
from onnx_graphs import conv_norm, network, save
from torch import nn

from calibration.errors import ModelError
from edgekd.models.checks import check_teacher
from edgekd.models.freeze import freeze
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from edgekd.models.to_onnx import export_onnx
from targets.input import Framing, InputSpec

SMALL = InputSpec(Framing(32, 64), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


@pytest.mark.parametrize("factor, said", [(1.0, None), (1e3, "millimetres"), (1e-3, "inverse depth")])
def test_depth_that_can_hardly_be_metres_is_said(factor: float, said: str | None) -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return factor * (2.0 + x.mean(1, keepdim=True))

    teacher = Teacher("scaled", Scaled(), InputSpec(Framing(32, 48)), digest="s" * 64, source="made for a test")
    remarks = [remark for remark in check_teacher(teacher) if "Metres are expected" in remark]
    assert len(remarks) == (said is not None)
    assert all(str(said) in remark for remark in remarks)


def _one_node(kind: str, constants: dict[str, np.ndarray], **attributes: object) -> onnx.ModelProto:
    return network([helper.make_node(kind, ["x", *constants], ["y"], **attributes)], constants)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_one_node("Relu", {}), r"outputs \[2, 3, 12, 16\], but depth \[2, 1, 12, 16\]"),
        (_one_node("Conv", {"w": np.zeros((1, 3, 1, 1), np.float32)}), "does not depend on the picture"),
        (_one_node("Conv", {"w": np.full((1, 3, 1, 1), -1, np.float32)}), "negative depth for 100%"),
        (_one_node("ReduceMean", {}, axes=[1, 2, 3], keepdims=0), r"outputs \[2\], but depth"),
    ],
)
def test_networks_that_give_no_depth(model: onnx.ModelProto, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        load_teacher(str(save(model, tmp_path / "net.onnx")))


def test_infinite_depth(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1]),
        helper.make_node("Sub", ["m", "m"], ["zero"]),
        helper.make_node("Div", ["m", "zero"], ["y"]),
    ]
    with pytest.raises(ModelError, match="NaN or infinite depth"):
        load_teacher(str(save(network(nodes, {}), tmp_path / "net.onnx")))


def test_smaller_maps_are_brought_to_the_inputs_size_and_it_says_so(tmp_path: Path) -> None:
    notes = Notes()
    model = _one_node("Conv", {"w": np.ones((1, 3, 2, 2), np.float32)}, strides=[2, 2])
    teacher = load_teacher(str(save(model, tmp_path / "net.onnx")), progress=notes)
    assert teacher.module(torch.rand(2, 3, 12, 16)).shape == (2, 1, 12, 16)
    assert any("[1, 1, 6, 8]: it is converted to [1, 1, 12, 16]" in note for note in notes.said)


def test_maps_without_a_channel_get_one(tmp_path: Path) -> None:
    teacher = load_teacher(str(save(_one_node("ReduceMean", {}, axes=[1], keepdims=0), tmp_path / "net.onnx")))
    assert teacher.module(torch.rand(2, 3, 12, 16)).shape == (2, 1, 12, 16)


class _Scaled(nn.Module):
    """A depth network with a constant, or a last step, of another precision than the weights."""

    def __init__(self, constant: torch.dtype, result: torch.dtype | None = None) -> None:
        super().__init__()
        self.conv, self.result = nn.Conv2d(3, 1, 3, padding=1), result
        self.register_buffer("unit", torch.full((1, 1, 1, 1), 2.0, dtype=constant))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        depth = self.unit * (1 + self.conv(x).square())
        return depth if self.result is None else depth.to(self.result)


@pytest.mark.parametrize(
    ("network", "remark"),
    [
        (_Scaled(torch.float64), "has float64 weights"),
        (_Scaled(torch.float32, torch.float64), "outputs float64 depth: it is converted to float32"),
        (_Scaled(torch.float32, torch.float16), "outputs float16 depth: it is converted to float32"),
    ],
)
def test_depth_is_float32_whatever_the_network_computes_in(network: nn.Module, remark: str, tmp_path: Path) -> None:
    expected = network(torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))).detach().float()
    notes = Notes()
    teacher = freeze(
        Teacher("scaled", network, InputSpec(Framing(16, 24)), digest="0", source="made for a test"), notes
    )
    assert any(remark in said for said in notes.said)
    depth = teacher.module(torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0)))
    assert depth.dtype == torch.float32
    torch.testing.assert_close(depth, expected)
    export_onnx(teacher.module, teacher.input, tmp_path / "net.onnx", metadata={})
    model = onnx.load(tmp_path / "net.onnx")
    assert model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


class _Wrapped(nn.Module):
    """One depth map, returned as `given` wraps it."""

    def __init__(self, given: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.given = nn.Conv2d(3, 1, 3, padding=1), given

    def forward(self, x: torch.Tensor) -> Any:
        return self.given(1 + self.conv(x).square())


@pytest.mark.parametrize(
    "given",
    [
        lambda depth: depth.squeeze(),
        lambda depth: (depth,),
        lambda depth: [{"depth": depth[:, 0]}],
    ],
    ids=["squeezed", "tuple", "dictionary in a list"],
)
def test_one_map_may_be_given_in_any_way(given: Callable[[torch.Tensor], Any], tmp_path: Path) -> None:
    network = _Wrapped(given)
    picture = torch.rand(2, 3, 16, 24)
    expected = 1 + network.conv(picture).detach().square()
    teacher = freeze(Teacher("wrapped", network, InputSpec(Framing(16, 24)), digest="0", source="made for a test"))
    check_teacher(teacher)
    torch.testing.assert_close(teacher.module(picture), expected)
    torch.testing.assert_close(teacher.module(picture[:1]), expected[:1])
    export_onnx(teacher.module, teacher.input, tmp_path / "net.onnx", metadata={})


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (lambda depth: {("disp", 1): depth[..., ::2, ::2] * 3, ("disp", 0): depth}, "output[('disp', 0)]"),
        (lambda depth: (depth.mean((2, 3)), [depth, depth * 2]), "output[1][0]"),
        (lambda depth: [depth.repeat(1, 4, 1, 1), depth[:, 0]], "output[1]"),
    ],
    ids=["scales", "bins before two maps", "features before the map"],
)
def test_of_several_outputs_the_first_of_the_largest_maps_is_the_depth(
    given: Callable[[torch.Tensor], Any], taken: str
) -> None:
    network, notes = _Wrapped(given), Notes()
    picture = torch.rand(2, 3, 16, 24)
    expected = 1 + network.conv(picture).detach().square()
    loaded = Teacher("several", network, InputSpec(Framing(16, 24)), digest="0", source="made for a test")
    teacher = freeze(loaded, notes)
    check_teacher(teacher)
    torch.testing.assert_close(teacher.module(picture), expected)
    assert any(f"{taken} is taken as its depth" in said for said in notes.said), notes.said


class _Viewing(nn.Module):
    """As in DORN: the whole map as one vector, by .view, which only takes the usual memory layout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8)
        self.whole, self.last = nn.Linear(8 * 4 * 6, 8), nn.Conv2d(8, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = torch.relu(self.norm(self.conv(x)))
        gist = self.whole(nn.functional.avg_pool2d(seen, 4).view(x.shape[0], -1))
        return self.last(seen * gist[:, :, None, None]).exp()


def test_a_network_that_takes_one_memory_layout_is_computed_in_it(tmp_path: Path) -> None:
    network, notes = _Viewing(), Notes()
    picture = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        expected = network.eval()(picture)
    loaded = Teacher("viewing", network, InputSpec(Framing(16, 24)), digest="0", source="made for a test")
    teacher = freeze(loaded, notes)
    assert any("calls .view" in said for said in notes.said)
    check_teacher(teacher)
    fast = teacher.module.to(memory_format=torch.channels_last)
    torch.testing.assert_close(fast(picture.contiguous(memory_format=torch.channels_last)), expected)
    export_onnx(teacher.module, teacher.input, tmp_path / "net.onnx", metadata={})


class _Hooked(nn.Module):
    """Keeps a layer's features by a hook: a method of its own, or a function made in __init__."""

    def __init__(self, method: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)
        self.kept: dict[str, torch.Tensor] = {}
        self.first.register_forward_hook(self.keep if method else lambda _, given, made: self.kept.update(first=made))

    def keep(self, _: nn.Module, given: Any, made: torch.Tensor) -> None:
        self.kept["first"] = made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.first(x)
        return self.last(self.kept["first"]).exp()


def test_a_network_whose_copy_would_read_features_of_another_picture_is_refused() -> None:
    """Statistics are observed, students cut and models exported in copies, whose depth would silently be wrong."""
    torch.manual_seed(0)
    networks = {
        method: freeze(Teacher("hooked", _Hooked(method), SMALL, digest="d", source="test")) for method in (False, True)
    }
    check_teacher(networks[True])
    with pytest.raises(ModelError, match=r"A copy of hooked .* forward hooks .*register_forward_hook\(self\.keep\)"):
        check_teacher(networks[False])


def test_depth_below_a_metre_is_remarked_on() -> None:
    network = _Wrapped(lambda depth: torch.sigmoid(depth))
    teacher = freeze(Teacher("flat", network, InputSpec(Framing(16, 24)), digest="0", source="made for a test"))
    assert any("perhaps a sigmoid's disparity" in remark for remark in check_teacher(teacher))


def test_a_network_of_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    """As an export of model.half(): pictures, weights and depth in float16."""
    whole = conv_norm()
    halved = copy.deepcopy(whole)
    for value in (*halved.graph.input, *halved.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for tensor in halved.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    teacher = load_teacher(str(save(halved, tmp_path / "half.onnx")))
    x = np.random.default_rng(0).random((2, 3, 12, 16)).astype(np.float32)
    session = onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(teacher.module(torch.from_numpy(x)).numpy(), expected, rtol=0.02, atol=0.02)
