"""Teachers that a function of the user makes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from notes import Notes
from user_code import write_user_code

from calibration.errors import ModelError
from edgekd.models.batch_norm import batch_norm_layers, require_batch_norm
from edgekd.models.running_order import running_order
from edgekd.models.teachers import load_teacher
from targets.input import Framing, InputSpec


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
