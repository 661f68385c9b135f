"""Calibrating a model once for all encodings: what is used again, and that the worst encoding decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from small_network import pictures, save, small_network

from calibration.progress import Quiet
from targets import quantise
from targets.calibrated import Calibrated, infer_quantised
from targets.drift import measure_drift
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


def test_a_budget_holds_in_every_encoding_on_all_its_pictures_with_no_layer_too_many(tmp_path: Path) -> None:
    graph, images, held_out = read_graph(save(small_network(), tmp_path / "one.onnx")), pictures(8), pictures(4, seed=2)
    expected = infer_model(graph.model, held_out)

    def drift(of: Calibrated, chosen: Sequence[int]) -> list[float]:
        found = (infer_quantised(of, encoding, held_out[chosen]) for encoding in (S8, U8S8))
        return sorted(measure_drift(depth, expected[chosen]).abs_rel for depth in found)

    free = calibrate(graph, images, Quiet(), Budget(0.9, held_out))
    assert not free.float_layers
    easy_first = sorted(range(4), key=lambda place: drift(free, [place]))
    lost, least = drift(free, easy_first), drift(free, easy_first[:1])
    assert max(lost[0], least[1]) < 0.98 * lost[1]
    for limit in ((max(lost[0], least[1]) + lost[1]) / 2, 0.9 * lost[1]):
        kept = calibrate(graph, images, Quiet(), Budget(limit, held_out[easy_first]))
        assert kept.float_layers and drift(kept, easy_first)[1] <= limit
        for layer in kept.float_layers:
            without = replace(kept, float_layers=tuple(name for name in kept.float_layers if name != layer))
            assert drift(without, easy_first)[1] > limit


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
