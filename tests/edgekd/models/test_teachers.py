"""Every form of a teacher's SPEC, and the messages about those that cannot serve."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx_graphs import conv_norm, save

from calibration.errors import EdgekdError, FileError, ModelError, UnknownNameError, UsageError
from edgekd.models.batch_norm import require_batch_norm
from edgekd.models.teachers import TEACHERS, load_teacher
from targets.input import Framing, InputSpec


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


def test_the_teacher_is_frozen_in_eval_mode(tmp_path: Path) -> None:
    module = load_teacher(str(save(conv_norm(), tmp_path / "net.onnx"))).module
    assert not any(part.training for part in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_weights_that_are_not_numbers_are_named(tmp_path: Path) -> None:
    model = conv_norm()
    broken = np.full((1, 4, 1, 1), np.nan, np.float32)
    for tensor in model.graph.initializer:
        if tensor.name == "last":
            tensor.CopyFrom(onnx.numpy_helper.from_array(broken, "last"))
    with pytest.raises(ModelError, match=r"conv_3\.weight.* hold NaN"):
        load_teacher(str(save(model, tmp_path / "net.onnx")))


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
