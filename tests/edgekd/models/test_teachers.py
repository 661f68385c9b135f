"""Every form of a teacher's SPEC, and the messages about those that cannot serve."""

from __future__ import annotations

import copy
import os
import re
import sys
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
from user_code import write_user_code

from calibration.errors import EdgekdError, FileError, ModelError, UnknownNameError, UsageError
from edgekd.models.batch_norm import EXPORT_KEEPING_NORMS, batch_norm_layers, require_batch_norm
from edgekd.models.checks import check_teacher
from edgekd.models.freeze import freeze
from edgekd.models.running_order import running_order
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import TEACHERS, load_teacher
from edgekd.models.to_onnx import export_onnx
from targets.input import Framing, InputSpec

SMALL = InputSpec(Framing(32, 64), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


@pytest.fixture
def shared() -> Path:
    if "EDGEKD_SHARED" not in os.environ:
        pytest.skip("EDGEKD_SHARED is not set: it names the folder that holds teachers/fastdepth")
    return Path(os.environ["EDGEKD_SHARED"]) / "teachers" / "fastdepth"


def test_fastdepth_gives_its_authors_depth(shared: Path) -> None:
    teacher = load_teacher(str(shared / "fastdepth_7.onnx"))
    picture = torch.from_numpy(np.load(shared / "rgb.npy")).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        both = teacher.module(torch.cat([picture, picture.flip(3)]))
    assert float((both[:1] - torch.from_numpy(np.load(shared / "pred.npy"))).abs().max()) < 1e-5
    assert both.shape == (2, 1, 224, 224)
    assert len(require_batch_norm(teacher)) == 38
    assert teacher.digest == "6275c23f467d476874d0eecea2a2c7059733ca6681de4f17bfbfe3fc3a52a71d"


def test_the_named_fastdepth_states_its_authors_framing(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKD_CACHE", str(tmp_path))
    (tmp_path / "fastdepth_7.onnx").write_bytes((shared / "fastdepth_7.onnx").read_bytes())
    teacher = load_teacher("fastdepth")
    assert teacher.input == InputSpec(Framing(224, 224, resize_height=250, crop=(228, 304)))
    assert "MIT" in teacher.source


def test_rooms_never_passes_for_an_accuracy_on_real_pictures() -> None:
    assert "stands in for real data" in TEACHERS["rooms"].summary
    assert "never accuracy on real pictures" in TEACHERS["rooms"].summary


def test_rooms_loads_or_says_what_is_missing() -> None:
    try:
        teacher = load_teacher("rooms")
    except FileError as error:
        assert "rooms" in error.message and "train.py" in error.fix
        return
    assert require_batch_norm(teacher)
    assert (teacher.input.height, teacher.input.width) == (192, 256)


@pytest.mark.parametrize("factor, said", [(1.0, None), (1e3, "millimetres"), (1e-3, "inverse depth")])
def test_depth_that_can_hardly_be_metres_is_said(factor: float, said: str | None) -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return factor * (2.0 + x.mean(1, keepdim=True))

    teacher = Teacher("scaled", Scaled(), InputSpec(Framing(32, 48)), digest="s" * 64, source="made for a test")
    remarks = [remark for remark in check_teacher(teacher) if "Metres are expected" in remark]
    assert len(remarks) == (said is not None)
    assert all(str(said) in remark for remark in remarks)


def test_the_teacher_is_frozen_in_eval_mode(tmp_path: Path) -> None:
    module = load_teacher(str(save(conv_norm(), tmp_path / "net.onnx"))).module
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_folded_batch_norm_is_named_for_what_it_is(tmp_path: Path) -> None:
    notes = Notes()
    teacher = load_teacher(str(save(conv_norm(bias=True, norm=False), tmp_path / "net.onnx")), progress=notes)
    assert batch_norm_layers(teacher.module) == {}
    assert any("folded on export" in note for note in notes.said)
    with pytest.raises(ModelError, match=r"folded.*PRESERVE.*--no-transformation.*edgekd calibrate") as raised:
        require_batch_norm(teacher)
    never_had_any = r"folded on export, if it had any\. If it was, export.*; otherwise distil a student"
    assert re.search(never_had_any, str(raised.value))  # as such a network looks the same


def _exported(path: Path, **settings: object) -> Path:
    """An export by torch as its documentation describes, with a BatchNorm that has seen pictures."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), norm, nn.ReLU(), nn.Conv2d(4, 1, 1), nn.Softplus())
    net(torch.rand(2, 3, 12, 16))
    torch.onnx.export(net.eval(), (torch.rand(1, 3, 12, 16),), str(path), **settings)  # type: ignore[arg-type]
    return path


@pytest.mark.filterwarnings("ignore")  # only torch's deprecated older exporter keeps BatchNorm
def test_the_export_that_the_errors_name_keeps_the_statistics(tmp_path: Path) -> None:
    folded = load_teacher(str(_exported(tmp_path / "folded.onnx", dynamo=False)))
    training = _exported(tmp_path / "training.onnx", dynamo=False, training=torch.onnx.TrainingMode.TRAINING)
    with pytest.raises(ModelError) as no_norms:
        require_batch_norm(folded)
    with pytest.raises(ModelError, match="exported in training mode") as in_training:
        load_teacher(str(training))
    assert EXPORT_KEEPING_NORMS in no_norms.value.fix and EXPORT_KEEPING_NORMS in in_training.value.fix
    assert EXPORT_KEEPING_NORMS in (Path(__file__).parents[3] / "README.md").read_text()
    assert "dynamo=False, training=torch.onnx.TrainingMode.PRESERVE" in EXPORT_KEEPING_NORMS
    as_named = _exported(tmp_path / "kept.onnx", dynamo=False, training=torch.onnx.TrainingMode.PRESERVE)
    kept = load_teacher(str(as_named))
    assert len(require_batch_norm(kept)) == 1
    picture = torch.rand(2, 3, 12, 16)
    torch.testing.assert_close(kept.module(picture), folded.module(picture), rtol=1e-4, atol=1e-5)


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    model = conv_norm()
    broken = np.full((1, 4, 1, 1), np.nan, np.float32)
    for tensor in model.graph.initializer:
        if tensor.name == "last":
            tensor.CopyFrom(onnx.numpy_helper.from_array(broken, "last"))
    with pytest.raises(ModelError, match=r"conv_3\.weight.* hold NaN"):
        load_teacher(str(save(model, tmp_path / "net.onnx")))


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


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("fastdepht", UnknownNameError, "Did you mean fastdepth"),
        ("zzz", UnknownNameError, "Choose one of: fastdepth, rooms"),
        ("net.tflite/x", UsageError, "neither a supported model file"),
        ("missing.onnx", FileError, r"Cannot read missing\.onnx"),
        ("missing.pt", FileError, r"Cannot read missing\.pt"),
        ("no such:thing", UsageError, r"package\.module:factory"),
        ("no_such_module_here:make", UsageError, "cannot be imported"),
        ("json:nothing", UsageError, "json has no function nothing"),
        ("os.path:join", ModelError, "failed with TypeError"),
        ("platform:machine", ModelError, "returned str"),
    ],
)
def test_specs_that_name_no_teacher(spec: str, kind: type[EdgekdError], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        load_teacher(spec)
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)


def test_an_architecture_is_for_weights_files() -> None:
    with pytest.raises(UsageError, match="Omit --architecture"):
        load_teacher("fastdepth", architecture="mobile-m")


def test_a_factory_runs_because_it_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, "mynets_make", monkeypatch)
    notes = Notes()
    teacher = load_teacher(f"{name}:make", progress=notes)
    assert teacher.input == InputSpec(Framing(16, 24))
    assert list(batch_norm_layers(teacher.module)) == ["norm"]
    assert any(f"Running make from {name}" in note for note in notes.said)
    assert teacher.digest == load_teacher(f"{name}:make").digest
    assert str(tmp_path) not in sys.path


@pytest.mark.parametrize("factory", ["ratios", "ratios_of_a_teacher"])
def test_a_factory_may_say_that_its_depth_has_no_unit(
    factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_user_code(tmp_path, f"mynets_{factory}", monkeypatch)
    assert load_teacher(f"{name}:make").metric
    teacher = load_teacher(f"{name}:{factory}")
    assert not teacher.metric
    torch.save(teacher.module.state_dict(), tmp_path / "net.pt")
    assert not load_teacher(str(tmp_path / "net.pt"), architecture=f"{name}:{factory}").metric


def test_a_train_that_returns_nothing_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, "mynets_silent", monkeypatch)
    teacher = load_teacher(f"{name}:silent")
    assert running_order(teacher.module, ["norm", "conv"], teacher.input) == ["conv", "norm"]
    assert not teacher.module.training


@pytest.mark.parametrize(("factory", "kind"), [("half", "float16"), ("double", "float64")])
def test_weights_of_another_precision_are_computed_in_float32(
    factory: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = write_user_code(tmp_path, f"mynets_{factory}", monkeypatch)
    notes = Notes()
    teacher = load_teacher(f"{name}:{factory}", progress=notes)
    picture = torch.rand(2, 3, 16, 24)
    expected = load_teacher(f"{name}:full").module(picture)
    torch.testing.assert_close(teacher.module(picture), expected, rtol=1e-2, atol=1e-3)
    assert any(f"has {kind} weights: it is computed in float32" in note for note in notes.said)


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


def test_layers_that_never_saw_a_picture_have_nothing_to_teach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, "mynets_lazy", monkeypatch)
    with pytest.raises(ModelError, match=r"The weights conv\.weight of mynets_lazy:lazy have no shape yet"):
        load_teacher(f"{name}:lazy")


def test_a_network_that_was_never_trained_has_no_statistics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, "mynets_untrained", monkeypatch)
    with pytest.raises(ModelError, match=r"hold no statistics"):
        require_batch_norm(load_teacher(f"{name}:make"))


@pytest.mark.parametrize(
    ("factory", "message"),
    [("bare", "does not describe its input.*InputSpec"), ("failing", "failed with RuntimeError: no weights here")],
)
def test_factories_that_fail(factory: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write_user_code(tmp_path, f"mynets_{factory}", monkeypatch)
    with pytest.raises(ModelError, match=message):
        load_teacher(f"{name}:{factory}")


def test_a_layer_norm_network_says_why_it_stores_nothing() -> None:
    from edgekd.models.teacher import Teacher

    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1))
    teacher = Teacher("dpt", module, SMALL, "0" * 64, "a test")
    both = r"GroupNorm, which keeps none; BatchNorm beside it was folded on export, if it had any\. If it was, export"
    with pytest.raises(ModelError, match=both):  # an exporter folds BatchNorm and keeps GroupNorm
        require_batch_norm(teacher)
    module[0] = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 4, 1, bias=False))
    with pytest.raises(ModelError, match=r"normalises with GroupNorm, which keeps none\. Distil"):
        require_batch_norm(teacher)


@pytest.mark.parametrize(("scale", "name"), [((1, 1), "GroupNorm"), ((0.5, 2), "InstanceNorm1d")])
def test_norms_of_an_onnx_file_have_the_name_that_their_author_knows(scale: tuple[float, float], name: str) -> None:
    """Before opset 18, torch writes GroupNorm as InstanceNormalization of the groups and scales the channels after."""
    from edgekd.models.teacher import Teacher

    norm = nn.InstanceNorm1d(2, affine=True)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(scale))
    module = nn.Sequential(nn.Conv2d(3, 2, 1), norm, nn.Conv2d(2, 1, 1))
    with pytest.raises(ModelError, match=f"normalises with {name}, which keeps none"):
        require_batch_norm(Teacher("dpt", module, SMALL, "0" * 64, "a test"))


def test_batch_norm_that_was_trained_on_several_gpus_stores_statistics_too() -> None:
    norm = nn.SyncBatchNorm(4)
    assert norm.running_mean is not None
    norm.running_mean.normal_(generator=torch.Generator().manual_seed(0))
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(norm, nn.ReLU()), nn.Conv2d(4, 1, 1)).eval()
    x = torch.rand(1, 3, 8, 8)
    expected = module(x)
    teacher = freeze(Teacher("several", module, InputSpec(Framing(8, 8)), digest="0" * 64, source="made for a test"))
    assert list(require_batch_norm(teacher)) == ["1.0"]
    torch.testing.assert_close(teacher.module(x), expected)


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
