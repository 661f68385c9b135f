"""Processors whose int8 products saturate: one note, where this moves the depth, with the fix."""

from __future__ import annotations

from pathlib import Path

import onnx
from notes import Notes
from small_network import Network, pictures, save, small_network
from test_odd_networks import begin, convs, end

from targets.calibrated import quantise
from targets.encodings import U8S8
from targets.graph import read_graph
from targets.quantise import calibrate
from targets.reference import emulate_model, infer_model
from targets.sensitivity import NOTICEABLE, mean_error


def bounded_above() -> onnx.ModelProto:
    """Activations of either sign, coded around the middle: with any two large weights their products exceed 16 bits."""
    net = Network()
    x = net.conv(convs(net, begin(net), 3, 16), 16, 16, 3)
    x = net.add("Clip", [x, "", net.constant("six", 6.0)])
    return end(net, convs(net, x, 16, 16), 16)


def drift_and_notes(model: onnx.ModelProto, folder: Path) -> tuple[float, list[str]]:
    """How far this processor moves the depth from what the int8 model says, and the notes about it."""
    progress, images = Notes(), pictures(24)
    encoded = quantise(calibrate(read_graph(save(model, folder / "student.onnx")), images, progress), U8S8)
    moved = mean_error(infer_model(encoded, images), emulate_model(encoded, images))
    return moved, [note for note in progress.said if "VNNI" in note]


def test_depth_that_this_processor_moves_is_remarked_on(tmp_path: Path) -> None:
    moved, notes = drift_and_notes(bounded_above(), tmp_path)
    assert len(notes) == (1 if moved > NOTICEABLE else 0)
    assert all("fp32" in note and "--max-drift" in note for note in notes)


def test_nothing_is_said_of_a_network_that_it_does_not_move(tmp_path: Path) -> None:
    moved, notes = drift_and_notes(small_network(), tmp_path)
    assert moved < NOTICEABLE
    assert not notes
