"""Everything that a distillation touches lies on the device that trains.

The device `meta` stands for a GPU: its tensors hold no numbers, but like a GPU it refuses tensors of other devices.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from edgekd.distill import steps, student_fit, transform_fit
from edgekd.distill.batches import Batch
from edgekd.distill.feature_pairs import Pair, pairs_of
from edgekd.distill.features import FeatureMatch
from edgekd.distill.settings import DistillSettings, QuantisationSettings, TransformSettings
from edgekd.distill.statistics import stored_statistics
from edgekd.distill.steps import Fitting
from edgekd.distill.student_fit import StudentFit
from edgekd.distill.transform_fit import TransformFit
from edgekd.models.slim import Slim, slim
from edgekd.models.teacher import Teacher

THERE = torch.device("meta")


@pytest.fixture(autouse=True)
def numbers_of_a_device_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (steps, student_fit, transform_fit):
        monkeypatch.setattr(module, "autocast", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(torch.Tensor, "__float__", lambda self: 0.5)
    known = torch.Tensor.__bool__
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda self: self.device != THERE and known(self))
    monkeypatch.setattr(TransformFit, "noise", lambda self, x, step: torch.randn(x.shape, device=x.device))


@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
@pytest.mark.parametrize("int8", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("cut", [True, False], ids=["cut from", "projected"])
def test_steps_go_on_from_a_checkpoint(
    teacher: Teacher, small_net: Any, monkeypatch: pytest.MonkeyPatch, cut: bool, parts: int, int8: bool
) -> None:
    settings = DistillSettings(
        steps=4,
        batch=8,
        accumulate=parts,
        transform=TransformSettings(warm_up=1, share=1 / parts),
        quantisation=QuantisationSettings(2) if int8 else None,
    )

    def fitting() -> Fitting:
        own = replace(teacher, module=copy.deepcopy(teacher.module))
        student = slim(own, 0.5) if cut else small_net()
        size = (own.input.height, own.input.width)
        pairs = pairs_of(student, own.module, size) if cut else (Pair("head", "head", (8, 8)),)
        features = FeatureMatch(pairs, own.module)
        transform = TransformFit(own, stored_statistics(own.module), settings, THERE)
        fit = StudentFit(student, own.input, settings, THERE, features, shares={} if cut else None)
        return Fitting(own, transform, fit, settings, THERE)

    pictures = torch.zeros(8, 32, 48, 3, dtype=torch.uint8)
    if cut:  # choosing channels reads numbers, which `meta` does not hold
        monkeypatch.setattr(Slim, "kept", slim(teacher, 0.5).kept)
    before, after = fitting(), fitting()
    if cut:
        before.start([Batch(step, pictures, pictures) for step in range(2)])
    for step in range(4):
        before.step(Batch(step, pictures, pictures))
    after.load_state_dict(brought_back(before.state_dict()))
    for step in range(4, 7):
        after.step(Batch(step, pictures, pictures))
    x = torch.zeros(8, 3, 32, 48, device=THERE)
    assert after.student is not None
    for made in (after.adapt(x, 3), after.teach(x), after.student.predict(x)):
        assert made.device == THERE
    after.finish()
    assert {tensor.device for tensor in after.student.student.state_dict().values()} == {THERE}


def brought_back(state: Any) -> Any:
    """A state as read from a checkpoint: in the CPU's memory."""
    if isinstance(state, torch.Tensor):
        return torch.zeros(state.shape, dtype=state.dtype)
    if isinstance(state, dict):
        return {name: brought_back(value) for name, value in state.items()}
    return [brought_back(value) for value in state] if isinstance(state, list) else state
