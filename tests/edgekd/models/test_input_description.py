"""The input that a bare file is assumed to take, and the <file>.input.json beside it that says otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from notes import Notes
from onnx_graphs import conv_norm, save

from calibration.errors import EdgekdError, ModelError
from calibration.files import sha256_file, write_json
from edgekd.models.teachers import load_teacher
from targets.input import Framing, InputSpec


def test_a_bare_onnx_says_what_was_assumed(tmp_path: Path) -> None:
    notes = Notes()
    path = save(conv_norm(), tmp_path / "net.onnx")
    teacher = load_teacher(str(path), progress=notes)
    assert teacher.input == InputSpec(Framing(12, 16))
    assert teacher.digest == sha256_file(path)
    assert any("RGB from 0 to 1 at 12x16 is assumed" in note and "net.onnx.input.json" in note for note in notes.said)


def test_an_input_description_beside_it_is_used(tmp_path: Path) -> None:
    notes = Notes()
    path = save(conv_norm(), tmp_path / "net.onnx")
    stated = InputSpec(Framing(12, 16), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    write_json(tmp_path / "net.onnx.input.json", stated.to_json())
    assert load_teacher(str(path), progress=notes).input == stated
    assert not any("assumed" in note for note in notes.said)


def test_an_input_description_may_leave_out_what_most_networks_do_without(tmp_path: Path) -> None:
    path = save(conv_norm(), tmp_path / "net.onnx")
    beside = {"framing": {"height": 12, "width": 16}, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    write_json(tmp_path / "net.onnx.input.json", beside)
    assert load_teacher(str(path)).input == InputSpec(Framing(12, 16), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))


_STATED = {"framing": {"height": 12, "width": 16}, "mean": [0, 0, 0], "std": [1, 1, 1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"framing": {"height": 12}, "mean": [0, 0, 0], "std": [1, 1, 1]}', "lacks width"),
        ('{"framing": [12, 16], "mean": [0, 0, 0], "std": [1, 1, 1]}', "cannot be read"),
        ("[12, 16]", "cannot be read"),
        (json.dumps({**_STATED, "channels": "BGR"}), "has no field 'channels', only framing, mean, std"),
        (
            json.dumps({**_STATED, "framing": {"height": 12, "width": 16, "croop": [8, 8]}}),
            "has no field .croop.",
        ),
        ("{", "not valid JSON"),
    ],
)
def test_an_input_description_that_cannot_be_read_is_named_and_shown_an_example(
    text: str, message: str, tmp_path: Path
) -> None:
    path = save(conv_norm(), tmp_path / "net.onnx")
    (tmp_path / "net.onnx.input.json").write_text(text)
    with pytest.raises(EdgekdError, match=rf"net\.onnx\.input\.json.*{message}.*Write it like \{{.framing") as raised:
        load_teacher(str(path))
    assert "\n" not in str(raised.value)


def test_a_normalisation_of_pixels_up_to_255_is_refused(tmp_path: Path) -> None:
    path = save(conv_norm(), tmp_path / "net.onnx")
    beside = {"framing": {"height": 12, "width": 16}, "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}
    write_json(tmp_path / "net.onnx.input.json", beside)
    with pytest.raises(ModelError, match=r"net\.onnx\.input\.json.*Divide mean and std by 255"):
        load_teacher(str(path))


def test_an_input_description_of_another_size(tmp_path: Path) -> None:
    path = save(conv_norm(), tmp_path / "net.onnx")
    write_json(tmp_path / "net.onnx.input.json", InputSpec(Framing(24, 32)).to_json())
    with pytest.raises(ModelError, match=r"takes 12x16 pictures, not 24x32"):
        load_teacher(str(path))
