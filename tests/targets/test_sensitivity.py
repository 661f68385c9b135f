"""Which layers stay in float, on made-up figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from targets.sensitivity import choose_float_layers, count_operations, fewest_float_layers


def counted(
    kind: str, weight: tuple[int, ...], given: tuple[int, ...], first: int | str = "N", **attributes: Any
) -> int:
    node = helper.make_node(kind, ["x", "w"], ["y"], name="layer", **attributes)
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", 1, [first, *given])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.zeros(weight, np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    del model.graph.output[:]
    model.graph.output.extend([helper.make_tensor_value_info("y", 1, None)])
    return count_operations(model)["layer"]


def test_multiplications_are_those_of_the_definition() -> None:
    assert counted("Conv", (8, 4, 3, 3), (4, 16, 24), pads=[1] * 4, strides=[2, 2]) == 8 * 4 * 9 * 8 * 12
    assert counted("ConvTranspose", (16, 16, 2, 2), (16, 16, 24), strides=[2, 2]) == 393_216
    assert counted("MatMul", (64, 32), (100, 64)) == 100 * 64 * 32
    assert counted("Gemm", (64, 32), (64,)) == 64 * 32
    assert counted("Gemm", (64, 32), (100,), first=64, transA=1) == 64 * 32  # sums run over the first axis


DAMAGE = {"a": 0.02, "b": 0.01, "c": 0.0039, "d": 0.001}
EQUAL = dict.fromkeys(DAMAGE, 10)


def added(layers: tuple[str, ...]) -> float:
    """Drift as the sum of the damages of the other layers."""
    return sum(damage for name, damage in DAMAGE.items() if name not in layers)


@pytest.mark.parametrize(
    ("budget", "expected"), [(0.04, ()), (0.034, ("a",)), (0.016, ("a",)), (0.0051, ("a", "b")), (0.005, ("a", "b"))]
)
def test_the_fewest_that_keep_drift_within_the_budget(budget: float, expected: tuple[str, ...]) -> None:
    assert fewest_float_layers(DAMAGE, EQUAL, added, budget) == expected


def test_where_no_choice_is_enough_the_least_drift_wins_and_not_the_most() -> None:
    chosen = fewest_float_layers(DAMAGE, EQUAL, lambda layers: 1 + added(layers), budget=0.5)
    assert chosen == ("a", "b")  # at most half of the arithmetic may be float


def test_layers_too_large_for_the_limit_are_passed_over() -> None:
    operations = {"a": 900, "b": 50, "c": 40, "d": 10}
    assert fewest_float_layers(DAMAGE, operations, added, budget=0.0215) == ("b", "c")  # 0.021 is left
    assert fewest_float_layers(DAMAGE, operations, added, budget=0.0205) == ("b", "c", "d")
    assert "a" not in fewest_float_layers(DAMAGE, operations, added, budget=0.001)


def test_a_layer_that_is_needless_beside_the_others_is_given_back() -> None:
    def drift(layers: tuple[str, ...]) -> float:
        return 0.001 if "b" in layers else 0.02  # the damage that `a` shows alone comes from `b`

    assert fewest_float_layers(DAMAGE, EQUAL, drift, budget=0.01) == ("b",)


def test_drift_is_measured_once_for_each_choice() -> None:
    seen: list[tuple[str, ...]] = []

    def drift(layers: tuple[str, ...]) -> float:
        seen.append(layers)
        return added(layers)

    fewest_float_layers(DAMAGE, EQUAL, drift, budget=0.016)
    assert len(seen) == len(set(seen))


def test_by_default_noticeable_damage_within_a_tenth_of_the_arithmetic() -> None:
    assert choose_float_layers(DAMAGE, {"a": 5, "b": 4, "c": 1, "d": 90}, set()) == ["a", "b"]
    assert choose_float_layers(DAMAGE, {"a": 50, "b": 4, "c": 1, "d": 45}, set()) == ["b"]


def test_a_layer_behind_a_float_one_stays_in_float_for_less() -> None:
    operations = {"a": 5, "b": 4, "c": 1, "d": 90}
    assert choose_float_layers(DAMAGE, operations, {"c", "d"}) == ["a", "b", "c"]


def test_all_that_stay_in_float_together_are_within_the_share() -> None:
    """Each alone is: two of 6 % are more than a tenth."""
    damage, operations = {"a": 0.03, "b": 0.02, "rest": 0.0}, {"a": 6, "b": 6, "rest": 88}
    assert choose_float_layers(damage, operations, set()) == ["a"]
