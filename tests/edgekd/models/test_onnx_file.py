"""Files that are not what they claim: none of their claims is trusted, nothing outside their folder is read."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from onnx_graphs import conv_norm, save

from calibration.errors import FileError, ModelError
from edgekd.models.onnx_import import import_onnx
from edgekd.models.onnx_import.file import digest_onnx

NO_MODELS = {
    "empty": (b"", "is empty"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5775869\n", "git lfs pull"),
    "page": (b"\n<!DOCTYPE html><html><body>Not found</body></html>", "is a web page"),
    "garbage": (bytes(range(256)) * 40, "truncated or not an ONNX"),
    "text": (b"hello", "not an ONNX"),
}


@pytest.mark.parametrize("case", NO_MODELS)
def test_files_that_are_no_models(case: str, tmp_path: Path) -> None:
    content, message = NO_MODELS[case]
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(FileError, match=message):
        import_onnx(path)


def test_a_truncated_file(tmp_path: Path) -> None:
    path = save(conv_norm(), tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises((FileError, ModelError), match=r"truncated|not a valid"):
        import_onnx(path)


def test_declared_sizes_are_not_believed(tmp_path: Path) -> None:
    model = conv_norm()
    model.graph.initializer[0].dims[0] = 10**9
    with pytest.raises((FileError, ModelError)):
        import_onnx(save(model, tmp_path / "net.onnx"))


def _external(folder: Path, location: str, *, length: int | None = None) -> Path:
    model = conv_norm()
    weights = model.graph.initializer[0]
    (folder / "inside").mkdir()
    (folder / "inside" / "net.bin").write_bytes(weights.raw_data[:length])
    (folder / "outside.bin").write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = weights.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", location
    path = folder / "inside" / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_beside_the_model_are_read(tmp_path: Path) -> None:
    module = import_onnx(_external(tmp_path, "net.bin")).module
    whole = import_onnx(save(conv_norm(), tmp_path / "whole.onnx")).module
    picture = torch.rand(1, 3, 12, 16)
    torch.testing.assert_close(module(picture), whole(picture), rtol=0, atol=0)


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/passwd", ""])
def test_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="outside its own folder"):
        import_onnx(_external(tmp_path, location))


def test_a_link_does_not_lead_outside(tmp_path: Path) -> None:
    path = _external(tmp_path, "link.bin")
    (path.parent / "link.bin").symlink_to(tmp_path / "outside.bin")
    with pytest.raises(ModelError, match="outside its own folder"):
        import_onnx(path)


def test_external_weights_that_are_too_short(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="too short for the weights w"):
        import_onnx(_external(tmp_path, "net.bin", length=10))


def test_weights_in_another_file_are_part_of_the_digest(tmp_path: Path) -> None:
    path, beside = tmp_path / "net.onnx", tmp_path / "weights"
    onnx.save(conv_norm(), path, save_as_external_data=True, location="weights", size_threshold=0)
    before = digest_onnx(path)
    beside.write_bytes(bytes([beside.read_bytes()[0] ^ 1]) + beside.read_bytes()[1:])
    assert digest_onnx(path) != before
