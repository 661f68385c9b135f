"""Calibrating a model once for all encodings: what is used again, and that the worst encoding decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_network import pictures, save, small_network

from calibration.progress import Quiet
from targets import quantise
from targets.calibrated import infer_quantised
from targets.encodings import S8, U8S8
from targets.graph import read_graph
from targets.quantise import Budget, calibrate
from targets.reference import infer_model
from targets.sensitivity import mean_error

pytest.importorskip("onnxruntime", reason="calibrating needs ONNX Runtime")


def test_a_calibration_is_used_again_for_the_same_model_pictures_and_budget_alone(tmp_path: Path) -> None:
    one = read_graph(save(small_network(), tmp_path / "one.onnx"))
    other = read_graph(save(small_network(offset=0.9), tmp_path / "other.onnx"))
    images, more, held_out = pictures(4), pictures(4, seed=1), pictures(2, seed=2)
    before = None
    for asked in (
        (one, images),
        (other, images),
        (other, more),
        (other, more, Budget(0.9, held_out)),
        (other, more, Budget(0.8, held_out)),
        (other, more, Budget(0.8, held_out[::-1])),
    ):
        graph, given, *budget = asked
        found = calibrate(graph, given, Quiet(), *budget)
        assert found is not before
        assert calibrate(graph, given.copy(), Quiet(), *budget) is found
        before = found


def test_layers_are_tried_in_float_where_a_single_encoding_loses_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, images = read_graph(save(small_network(), tmp_path / "one.onnx")), pictures(8)
    monkeypatch.setattr(quantise, "NOTICEABLE_FOR_NOTHING", 1.0)
    untried = calibrate(graph, images, Quiet())
    exact = infer_model(untried.model, images)
    lost = sorted(mean_error(infer_quantised(untried, encoding, images), exact) for encoding in (U8S8, S8))
    assert not untried.damage and lost[0] < 0.98 * lost[1]
    quantise._last.clear()
    monkeypatch.setattr(quantise, "NOTICEABLE_FOR_NOTHING", (lost[0] + lost[1]) / 2)
    assert calibrate(graph, images, Quiet()).damage
    quantise._last.clear()  # not for the tests that come after
