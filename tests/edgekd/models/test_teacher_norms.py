"""Which normalisation of a teacher stores statistics, and what is said of the others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from notes import Notes
from onnx_graphs import conv_norm, save
from torch import nn

from calibration.errors import ModelError
from edgekd.models.batch_norm import EXPORT_KEEPING_NORMS, batch_norm_layers, require_batch_norm
from edgekd.models.freeze import freeze
from edgekd.models.teacher import Teacher
from edgekd.models.teachers import load_teacher
from targets.input import Framing, InputSpec

SMALL = InputSpec(Framing(32, 64), mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))


def test_folded_batch_norm_is_named_for_what_it_is(tmp_path: Path) -> None:
    notes = Notes()
    teacher = load_teacher(str(save(conv_norm(bias=True, norm=False), tmp_path / "net.onnx")), progress=notes)
    assert batch_norm_layers(teacher.module) == {}
    assert any("folded on export" in note for note in notes.said)
    with pytest.raises(ModelError, match=r"folded.*PRESERVE.*--no-transformation.*edgekd calibrate") as raised:
        require_batch_norm(teacher)
    never_had_any = r"folded on export, if it had any\. If it was, export.*; otherwise distil without them"
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


def test_a_layer_norm_network_says_why_it_stores_nothing() -> None:
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
