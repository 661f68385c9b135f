"""Networks as training leaves them: wrapped, parametrised, scripted, or random where they should not be."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from calibration.errors import ModelError
from edgekd.distill.reconstruction import reconstruct
from edgekd.models.adapted import OnCopies
from edgekd.models.batch_norm import batch_norm_layers, require_batch_norm
from edgekd.models.checks import check_teacher
from edgekd.models.freeze import freeze
from edgekd.models.slim import slim
from edgekd.models.teacher import Teacher
from edgekd.models.to_onnx import require_exportable
from edgekd.steps.training import require_finite
from targets.input import Framing, InputSpec

SPEC = InputSpec(Framing(32, 48))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.head = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(self.head(self.second(self.first(x)))) + 0.5


class InPlace(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.sub_(0.5).div_(0.25))


class OutOfPlace(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward((x - 0.5) / 0.25)


class Dropping(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.softplus(self.head(F.dropout(self.second(self.first(x)), 0.5))) + 0.5


def made(kind: Callable[[], nn.Module] = Net) -> nn.Module:
    torch.manual_seed(0)
    net = kind().train()
    with torch.no_grad():
        for _ in range(20):
            net(torch.rand(4, 3, 32, 48))
    return net.eval()


def teacher(module: nn.Module) -> Teacher:
    return freeze(Teacher("net", module, SPEC, digest="0", source="a test"))


def pictures() -> torch.Tensor:
    return torch.rand(4, 3, 32, 48, generator=torch.Generator().manual_seed(1))


def on_convolutions(change: Callable[[nn.Module], nn.Module]) -> nn.Module:
    net = made()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            change(layer)
    return net


def compiled_inside() -> nn.Module:
    net = made()
    net.second = torch.compile(net.second)  # type: ignore[assignment]
    return net


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "build",
    [
        lambda: torch.compile(made()),
        compiled_inside,
        lambda: on_convolutions(torch.nn.utils.parametrizations.weight_norm),
        lambda: on_convolutions(torch.nn.utils.parametrizations.spectral_norm),
        lambda: on_convolutions(torch.nn.utils.weight_norm),
        lambda: on_convolutions(torch.nn.utils.spectral_norm),
    ],
    ids=["compiled", "compiled inside", "weight_norm", "spectral_norm", "old weight_norm", "old spectral_norm"],
)
def test_what_is_wrapped_gives_the_same_depth_and_can_be_cut(build: Callable[[], nn.Module]) -> None:
    module = build().eval()
    compiled = any(name.endswith("_orig_mod") for name, _ in module.named_modules())
    with torch.no_grad():
        wanted = (made() if compiled else module)(pictures())  # not every Python can run the compiled one
        found = teacher(module)
        torch.testing.assert_close(found.module(pictures()), wanted)
    assert found.module.state_dict().keys() == made().state_dict().keys()
    assert list(batch_norm_layers(found.module)) == ["first.1", "second.1"]
    assert slim(found, 0.5)(pictures()).shape == (4, 1, 32, 48)


def scripted(network: nn.Module) -> nn.Module:
    """As TorchScript. torch 2.13 tells its builtins by the ids of objects, which a list in a network may have by chance
    ("builtin cannot be used as a value"): a copy has others."""
    tried = [network]
    while True:
        try:
            return torch.jit.script(tried[-1])
        except RuntimeError as error:
            if "builtin cannot be used as a value" not in str(error) or len(tried) == 5:
                raise
            tried.append(copy.deepcopy(tried[-1]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_can_be_run_and_what_it_cannot_is_said() -> None:
    net = made()
    net.second = scripted(net.second)  # type: ignore[assignment]
    (remark,) = check_teacher(teacher(scripted(made())))
    assert "it is a TorchScript program, whose layers cannot be inspected" in remark
    found = teacher(net)
    with torch.no_grad():
        torch.testing.assert_close(found.module(pictures()), made()(pictures()))
    with pytest.raises(ModelError, match=r"its layer second is a TorchScript program\. Build it from its Python class"):
        require_exportable(found.module, SPEC)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_torchscript_without_any_layer_to_look_into_has_no_statistics() -> None:
    with pytest.raises(ModelError, match=r"it is a TorchScript program, whose .*inspected\. Build it from its Python"):
        require_batch_norm(teacher(scripted(made())))


def test_a_teacher_that_changes_its_pictures_teaches_what_one_that_does_not_would() -> None:
    students = []
    for kind in (InPlace, OutOfPlace):
        taught = teacher(made(lambda kind=kind: kind()))  # type: ignore[misc]
        assert not check_teacher(taught)
        given = pictures()
        student = slim(taught, 0.5, [given])
        reconstruct(student, taught.module, [given], 0.03)
        torch.testing.assert_close(given, pictures())
        students.append(student)
    assert isinstance(students[0].network, OnCopies)
    inside = [student.state_dict() for student in (students[0].network.network, students[1].network)]
    torch.testing.assert_close(inside[0], inside[1])


def test_a_teacher_that_is_random_where_it_is_used_is_told_of() -> None:
    assert not check_teacher(teacher(made()))
    (remark,) = check_teacher(teacher(made(Dropping)))
    assert "is not deterministic: depth of the same picture varies" in remark
    with pytest.raises(ModelError, match=r"is not deterministic.*F\.dropout\(x, p, training=self\.training\)"):
        require_exportable(made(Dropping), SPEC)


class Flat(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).mean((1, 2, 3), keepdim=True).expand(-1, 1, *x.shape[-2:])


class NaNInSome(Net):
    """As a division by a value that is 0 in some pictures gives."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        depth = super().forward(x)
        return torch.where(x.mean((1, 2, 3), keepdim=True) > x.mean(), torch.nan, depth)


def test_one_depth_for_all_of_a_picture_is_none() -> None:
    with pytest.raises(ModelError, match="outputs a single depth for the whole picture"):
        check_teacher(teacher(made(Flat)))


def test_depth_that_is_no_number_is_told_as_that() -> None:
    with pytest.raises(ModelError, match="outputs NaN or infinite depth for some pictures"):
        require_exportable(made(NaNInSome), SPEC)
    with pytest.raises(ModelError, match="net outputs NaN or infinite depth for pictures that were set aside"):
        require_finite(np.array([1.0, np.nan], np.float32), teacher(made()))


def test_a_network_that_needs_more_than_pictures_is_to_be_wrapped() -> None:
    class WithIntrinsics(Net):
        def forward(self, x: torch.Tensor, intrinsics: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return super().forward(x)

    with pytest.raises(
        ModelError, match=r"argument: 'intrinsics'.*Wrap it in a module whose forward takes only pictures"
    ):
        check_teacher(teacher(WithIntrinsics()))
