"""Weights files: whole, self-describing, and refused in one line when they do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from calibration.errors import FileError, ModelError
from calibration.files import sha256_file
from edgekd.models.architectures import architecture
from edgekd.models.weights import fill, load_weights, save_weights, weights_digest
from targets.input import Framing, InputSpec

INPUT = InputSpec(Framing(32, 64, resize_height=40, crop=(36, 72)), mean=(0.1, 0.2, 0.3))


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    student = architecture("mobile-s").start(INPUT, seed=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    path = tmp_path / "run" / "student.safetensors"
    digest = save_weights(path, student, architecture="mobile-s", input=INPUT)
    held = load_weights(path)
    assert (held.architecture, held.input, held.digest) == ("mobile-s", INPUT, digest)
    assert digest == sha256_file(path)
    other = architecture("mobile-s").start(INPUT, seed=2)
    fill(other, held.tensors, str(path), architecture="mobile-s")
    assert weights_digest(other) == weights_digest(student)
    assert [file.name for file in path.parent.iterdir()] == ["student.safetensors"]


def test_the_same_weights_make_the_same_file(tmp_path: Path) -> None:
    student = architecture("mobile-s").start(INPUT)
    digests = {save_weights(tmp_path / name, student, architecture="mobile-s", input=INPUT) for name in ("a", "b")}
    assert len(digests) == 1


def test_the_digest_sees_every_value() -> None:
    student = architecture("mobile-s").start(INPUT)
    before = weights_digest(student)
    with torch.no_grad():
        next(student.buffers())[0] += 1e-3
    assert weights_digest(student) != before


def test_another_size_is_refused_in_one_line(tmp_path: Path) -> None:
    save_weights(tmp_path / "s", architecture("mobile-s").start(INPUT), architecture="mobile-s", input=INPUT)
    with pytest.raises(ModelError, match=r"does not match the architecture mobile-m.*and \d+ more") as raised:
        fill(architecture("mobile-m").start(INPUT), load_weights(tmp_path / "s").tensors, "s", architecture="mobile-m")
    assert "\n" not in str(raised.value)


def test_a_file_of_another_program_has_no_description(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2, 2)}, tmp_path / "x.safetensors")
    held = load_weights(tmp_path / "x.safetensors")
    assert held.architecture is None and held.input is None
    layer = nn.Linear(2, 2, bias=False)
    fill(layer, held.tensors, "x", architecture="a layer")
    assert torch.equal(layer.weight, torch.zeros(2, 2))


def test_a_layer_with_two_names_is_filled_from_a_file_that_holds_one_of_them(tmp_path: Path) -> None:
    """As safetensors' save_model writes them; a layer that is named nowhere is still missed."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.head = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), nn.Conv2d(4, 1, 1)
            self.backbone = self.block

    trained, path = Named(), tmp_path / "net.safetensors"
    from safetensors.torch import save_model

    save_model(trained, str(path))
    tensors = load_weights(path).tensors
    assert len(tensors) < len(trained.state_dict())
    fresh = Named()
    fill(fresh, tensors, "net", architecture="named")
    assert weights_digest(fresh) == weights_digest(trained)
    del tensors["head.weight"]
    with pytest.raises(ModelError, match=r"it misses head\.weight"):
        fill(fresh, tensors, "net", architecture="named")


def test_a_truncated_file(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    save_weights(path, architecture("mobile-s").start(INPUT), architecture="mobile-s", input=INPUT)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(FileError, match="not a complete safetensors file"):
        load_weights(path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="Cannot write"):
        save_weights(
            tmp_path / "file" / "run" / "s", architecture("mobile-s").start(INPUT), architecture="mobile-s", input=INPUT
        )


def test_a_description_that_makes_no_sense(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"weight": torch.zeros(2)}, tmp_path / "x.safetensors", metadata={"edgekd": '{"architecture": 1}'})
    with pytest.raises(FileError, match=r"description in .* cannot be read"):
        load_weights(tmp_path / "x.safetensors")
