from __future__ import annotations

import pytest
import torch

from calibration.errors import MissingRuntimeError
from edgekd.distill.device import choose_device, training_dtype
from edgekd.steps.doctor import _torch as doctor


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 7), torch.bfloat16)])
def test_bfloat16_is_taken_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    """PyTorch claims it for a T4 too, which emulates it and has no such convolutions. The tests have no such card."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    card = torch.device("cuda:1")
    assert training_dtype(card) is dtype
    assert training_dtype(card, "float32") is torch.float32
    if dtype is torch.float32:
        with pytest.raises(MissingRuntimeError, match="a card does not compute in bfloat16"):
            training_dtype(card, "bfloat16")


def test_a_driver_that_is_too_old_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML counts GPUs that CUDA cannot use. The tests have no such machine."""

    def refuse() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nPlease update it.")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "init", refuse)
    with pytest.raises(MissingRuntimeError, match=r"cuda was requested, .*is too old \(found version 11040\)\. Use"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: refuse())
    assert "but cannot use the GPUs (The NVIDIA driver" in doctor()
