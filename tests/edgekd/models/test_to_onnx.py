"""The exported model, read by every installed runtime."""

from __future__ import annotations

import inspect
import json
import signal
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from calibration.errors import ModelError
from edgekd.models.architectures import architecture
from edgekd.models.graph_tidy import tidy
from edgekd.models.opset import OPSET
from edgekd.models.pictures import NormalisePictures, probe_pictures
from edgekd.models.rooms import RoomsNet
from edgekd.models.to_onnx import export_onnx
from targets.input import Framing, InputSpec
from targets.preflight import preflight

SMALL = InputSpec(Framing(64, 96), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def _with_trained_norms(network: nn.Module) -> nn.Module:
    """Gives every BatchNorm its own statistics and weights, as training would."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.running_var, layer.weight):
                    assert tensor is not None
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
                for tensor in (layer.running_mean, layer.bias):
                    assert tensor is not None
                    tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def student() -> nn.Module:
    return _with_trained_norms(architecture("mobile-s").start(SMALL, seed=1))


@pytest.fixture(scope="module")
def exported(student: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "student.onnx"
    parity = export_onnx(student, SMALL, path, metadata={"edgekd.student": "abc"})
    assert parity.images >= 4 and parity.max_relative < 1e-4 and parity.max_abs_metres < 1e-3
    return path


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(student: nn.Module, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth by the definition of InputSpec, not by the code under test."""
    scaled = (pictures.astype(np.float64) / 255 - np.array(SMALL.mean)) / np.array(SMALL.std)
    with torch.no_grad():
        depth: Tensor = student(torch.from_numpy(scaled.astype(np.float32)).permute(0, 3, 1, 2))
    return depth[:, 0].numpy()


def test_the_graph_is_what_was_promised(exported: Path) -> None:
    model = onnx.load(exported)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    (image,), (depth,) = model.graph.input, model.graph.output
    assert (image.name, depth.name) == ("image", "depth")
    assert image.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    shape = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert shape == ["batch", 64, 96, 3]
    assert [dim.dim_param or dim.dim_value for dim in depth.type.tensor_type.shape.dim] == ["batch", 64, 96]
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds and not kinds & {"Shape", "If", "Identity"}
    assert model.graph.node[0].op_type == "Cast"  # TensorRT supports no other operation on uint8
    assert not any(tensor.data_location == tensor.EXTERNAL for tensor in model.graph.initializer)
    known = {value.name for value in [*model.graph.value_info, *model.graph.output]}
    assert {name for node in model.graph.node for name in node.output} <= known


def test_metadata_describe_the_input(exported: Path) -> None:
    stored = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert InputSpec.from_json(json.loads(stored["edgekd.input"])) == SMALL
    assert stored["edgekd.student"] == "abc"
    assert json.loads(stored["edgekd.parity"])["max_relative"] < 1e-4


def test_nothing_of_this_machine_is_in_the_file(exported: Path) -> None:
    content = exported.read_bytes()
    assert str(Path(torch.__file__).parent).encode() not in content
    assert str(Path.cwd()).encode() not in content and b"stack_trace" not in content


def test_onnxruntime(exported: Path, pictures: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": pictures})[0], expected, rtol=1e-4)


def test_openvino(exported: Path, pictures: NDArray[np.uint8], expected: NDArray[np.float32]) -> None:
    openvino = pytest.importorskip("openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = openvino.Core().compile_model(exported, "CPU", settings)
    np.testing.assert_allclose(compiled({"image": pictures})["depth"], expected, rtol=1e-3)


def test_tensorrt_rtx_parses_and_builds(exported: Path) -> None:
    trt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(exported)), [str(parser.get_error(i)) for i in range(parser.num_errors)]
    assert network.get_input(0).dtype == trt.DataType.UINT8
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 64, 96, 3), (1, 64, 96, 3), (4, 64, 96, 3))
    config = builder.create_builder_config()
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


def test_nothing_is_said_and_the_same_network_makes_the_same_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = _with_trained_norms(_Tiny()).train()
    for name in ("first.onnx", "second.onnx"):
        export_onnx(network, SMALL, tmp_path / name, metadata={"edgekd.student": "abc"})
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    assert network.training  # the network is unchanged


def test_sizes_that_halve_with_a_remainder(tmp_path: Path) -> None:
    odd = InputSpec(Framing(57, 75))
    parity = export_onnx(_with_trained_norms(RoomsNet(odd)), odd, tmp_path / "odd.onnx", metadata={})
    assert parity.max_relative < 1e-4


class _Tiny(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 1, 3, padding=2), nn.Softplus()
        )


class _Many(nn.Module):
    """Operations whose opset 18 form differs from their opset 17 form."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(self.conv(x), (1, 1, 1, 1), mode="reflect")[:, :, 1:-1, 1:-1]
        first, second = x.split([4, 4], dim=1)
        first = nn.functional.mish(first)
        x = first * second.mean((2, 3), keepdim=True) + second.amax(1, keepdim=True)
        small = nn.functional.avg_pool2d(x, 2)
        x = x + nn.functional.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=True)
        return nn.functional.softplus(x.sum(1, keepdim=True))


def test_operations_that_changed_between_opsets(tmp_path: Path) -> None:
    parity = export_onnx(_Many().eval(), SMALL, tmp_path / "many.onnx", metadata={})
    assert parity.max_relative < 1e-4
    assert onnx.load(tmp_path / "many.onnx").opset_import[0].version == OPSET


class _Clamps(nn.Module):
    """Bounds of two types, in each way of writing them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.clamp(self.conv(x).exp(), 0.2, 5) + torch.clip(x.mean(1, keepdim=True), 0, 0.5)
        return x.clamp_(0.3, 8).clamp(min=1e-3, max=80)


def test_bounds_of_two_types_can_be_exported(tmp_path: Path) -> None:
    parity = export_onnx(_Clamps().eval(), SMALL, tmp_path / "clamps.onnx", metadata={})
    assert parity.max_relative < 1e-4


class _Centred(_Tiny):
    """Asks for the size of the batch, of which the exporter asks the pictures."""

    def forward(self, x: Tensor) -> Tensor:
        whole = x.mean((2, 3), keepdim=True).expand(x.shape[0], -1, 4, 4)
        return super().forward(x + whole[:, :, :1, :1])  # type: ignore[no-any-return]


def test_only_a_cast_reads_the_pictures(tmp_path: Path) -> None:
    """TensorRT takes uint8 nowhere else."""
    export_onnx(_with_trained_norms(_Centred()), SMALL, tmp_path / "centred.onnx", metadata={})
    model = onnx.load(tmp_path / "centred.onnx")
    assert "Shape" in {node.op_type for node in model.graph.node}
    assert [node.op_type for node in model.graph.node if "image" in node.input] == ["Cast"]
    assert all(verdict.builds for verdict in preflight(model))


def test_gelu_is_written_as_onnx_runtime_knows_it(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="its optimiser is looked at")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 8, 3, 1, 1), nn.GELU(), nn.Conv2d(8, 1, 1), nn.Softplus(),
        nn.Upsample(scale_factor=2),
    )  # fmt: skip
    export_onnx(network.eval(), SMALL, tmp_path / "net.onnx", metadata={})
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(tmp_path / "net.onnx", options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("Gelu") == 2 and "Erf" not in kinds
    other_halves = nn.Sequential(network[0], nn.Softplus(), nn.Conv2d(8, 1, 1), _Halved(), nn.Upsample(scale_factor=2))
    export_onnx(other_halves.eval(), SMALL, tmp_path / "halved.onnx", metadata={})  # compares it with the network


class _Halved(nn.Module):
    """Products with a half that are no GELU: of another tensor, made before or after the other, of another shape."""

    def forward(self, x: Tensor) -> Tensor:
        before, halved = x + 1, 0.5 * (torch.erf(x / 2) + 1)
        after = x.sigmoid() * 2
        whole = x.mean((2, 3), keepdim=True)
        return before * halved + after * (0.5 * (torch.erf(x) + 1)) + x * (0.5 * (1 + torch.erf(whole / 2))) + 3


def test_an_imported_network_can_go_out_again(tmp_path: Path) -> None:
    from onnx_graphs import conv_norm, save

    from edgekd.models.teachers import load_teacher

    teacher = load_teacher(str(save(conv_norm(), tmp_path / "in.onnx")))
    parity = export_onnx(teacher.module, teacher.input, tmp_path / "out.onnx", metadata={})
    assert parity.max_relative < 1e-4


class _Unexportable(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x.mean(1, keepdim=True)) + 2


class _OneByOne(nn.Module):
    """Right for any batch size in torch, but tied to the example's in a traced graph."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([picture.mean(0, keepdim=True) for picture in x]) + 1


class _Deciding(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1, keepdim=True) + (1.0 if x.mean() > 0 else 2.0)


_CAPTURES = "dynamic_shapes" in inspect.signature(torch.onnx.export).parameters  # torch 2.4 traces instead


def test_why_a_network_cannot_be_exported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """torch's first line only names its own step, in colours, and torch prints the whole graph as well."""
    if not _CAPTURES:
        pytest.skip("the exporter of this torch traces, and takes whichever way the example went")
    with pytest.raises(ModelError, match="data-dependent") as raised:
        export_onnx(_Deciding(), SMALL, tmp_path / "x.onnx", metadata={})
    assert "\x1b" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


class _Mirrored(nn.Module):
    """Averages over the picture and its mirror image, both in one batch."""

    def forward(self, x: Tensor) -> Tensor:
        one, mirrored = torch.cat([x, x.flip(3)]).mean(1, keepdim=True).chunk(2)
        return (one + mirrored.flip(3)) / 2 + 3


def test_chunks_of_the_batch_are_refused_with_what_can_be_exported(tmp_path: Path) -> None:
    if not _CAPTURES:
        pytest.skip("the exporter of this torch traces")
    with pytest.raises(ModelError, match=r"depend on the batch size.*without its chunk or split; x\[:n\]"):
        export_onnx(_Mirrored(), SMALL, tmp_path / "x.onnx", metadata={})


@pytest.mark.parametrize("network", [_Unexportable(), _OneByOne()])
def test_what_cannot_be_exported_leaves_no_file(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        export_onnx(network, SMALL, tmp_path / "x.onnx", metadata={})
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_differs_from_the_network_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison receives a graph with one altered weight."""
    from edgekd.models import to_onnx

    def altered(model: onnx.ModelProto) -> None:
        weights = next(tensor for tensor in model.graph.initializer if tensor.name.endswith("2.bias"))
        bias = onnx.numpy_helper.to_array(weights) + np.float32(0.01)
        weights.CopyFrom(onnx.numpy_helper.from_array(bias, weights.name))

    monkeypatch.setattr(to_onnx, "tidy", altered)
    with pytest.raises(ModelError, match=r"differs from the network by \d"):
        export_onnx(_with_trained_norms(_Tiny()), SMALL, tmp_path / "x.onnx", metadata={})
    assert list(tmp_path.iterdir()) == []


class _OneOver(nn.Module):
    """Depth from a disparity that is nearly 0 in places, where little but rounding error is left of it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 1, 31, padding=15)

    def forward(self, x: Tensor) -> Tensor:
        return 1 / self.conv(x).abs().clamp_min(1e-5)


def test_roundings_of_a_disparity_near_zero_are_no_difference(tmp_path: Path) -> None:
    parity = export_onnx(_OneOver().eval(), SMALL, tmp_path / "x.onnx", metadata={})
    assert parity.max_relative < 1e-3


class _Interrupted(_Tiny):
    """Raises Ctrl-C during capture, in code that takes it for its own failure, as torch's does."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as error:
                raise RuntimeError("no attribute") from error
        return super().forward(x)


@pytest.mark.skipif(not _CAPTURES, reason="the exporter of this torch traces, and captures nothing")
def test_an_interruption_is_not_taken_for_an_operation_that_onnx_lacks(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        export_onnx(_with_trained_norms(_Interrupted()), SMALL, tmp_path / "x.onnx", metadata={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mean", [(0.0, 0.0, 0.0), (0.485, 0.456, 0.406)])
def test_normalisation_is_that_of_the_definition(mean: tuple[float, float, float]) -> None:
    described = InputSpec(Framing(8, 12), mean=mean, std=(0.229, 0.224, 0.225))
    pictures = probe_pictures(8, 12, 2)
    assert pictures.dtype == np.uint8 and pictures.shape == (2, 8, 12, 3) and pictures.std() > 30
    wanted = (pictures / 255 - np.array(mean)) / np.array(described.std)
    got = NormalisePictures(described)(torch.from_numpy(pictures)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_depth_is_as_fine_as_float32_where_networks_compute_in_bfloat16(student: nn.Module) -> None:
    x = NormalisePictures(SMALL)(torch.from_numpy(probe_pictures(64, 96, 2)))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        depth = student(x)
    assert depth.dtype is torch.float32
    assert len(depth.unique()) > 1000  # bfloat16 has 128 steps between powers of 2


def test_a_graph_of_constants_and_shared_weights_becomes_plain() -> None:
    """As torch 2.4 traces: scales of a Resize from a Constant node, biases of equal value through an Identity node."""
    helper = onnx.helper
    weights = {"w": np.ones((2, 2, 1, 1)), "b": np.arange(2)}
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["b"], ["c"]),
            helper.make_node("Identity", ["c"], ["d"]),
            helper.make_node("Conv", ["x", "w", "d"], ["y"]),
            helper.make_node("Constant", [], ["scales"], value=scales),
            helper.make_node("Resize", ["y", "", "scales"], ["z"], mode="nearest"),
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 2, 4, 4])],
        [helper.make_tensor_value_info("z", 1, [1, 2, 8, 8])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    x = np.random.default_rng(0).random((1, 2, 4, 4), dtype=np.float32)
    (before,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    tidy(model)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Resize"]
    assert {tensor.name for tensor in model.graph.initializer} == {"w", "d", "scales"}
    (after,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_array_equal(before, after)
