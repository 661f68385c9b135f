from __future__ import annotations

import inspect
import pickle

import pytest

import calibration.errors as errors
import edgekd.errors
from calibration.errors import EdgekdError, UnknownNameError

TREE = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, EdgekdError)]


def test_the_tree_is_exported_whole_and_drawn_in_the_docstring() -> None:
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in TREE) == sorted(edgekd.errors.__all__)
    assert errors.__doc__ is not None
    assert all(cls.__name__ in errors.__doc__ for cls in TREE)


@pytest.mark.parametrize("cls", [cls for cls in TREE if cls is not UnknownNameError])
def test_an_error_is_one_line_and_survives_the_way_from_a_worker(cls: type[EdgekdError]) -> None:
    error = cls("a.onnx is no model.", fix="Export it again")
    assert str(error) == "a.onnx is no model. Export it again."
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.fix, again.exit_code) == (cls, str(error), error.fix, error.exit_code)


@pytest.mark.parametrize(
    "command",
    ["edgekd distill --out 'runs/a b.'", "edgekd distill --teacher hf:org/name --out x", "edgekd export --on a@b:22"],
)
def test_a_command_to_copy_has_no_stop_behind_it(command: str) -> None:
    assert str(EdgekdError("It is missing.", fix=f"Make it: {command}")) == f"It is missing. Make it: {command}"


@pytest.mark.parametrize("fix", ["pip install 'edgekd[distill]'", "Run pip install 'edgekd[distill]'"])
def test_a_fix_that_is_a_command_has_no_stop_behind_it(fix: str) -> None:
    assert str(EdgekdError("It is missing.", fix=fix)) == f"It is missing. {fix}"


def test_a_fix_that_only_speaks_of_a_command_ends_in_a_stop() -> None:
    fix = "Check the driver with `edgekd doctor`, or use cpu"
    assert str(EdgekdError("It is missing.", fix=fix)) == f"It is missing. {fix}."


def test_a_name_that_is_unknown_gets_its_near_matches() -> None:
    known = ["openvino", "onnxruntime", "tensorrt"]
    assert str(UnknownNameError("target", "openvnio", known)).endswith("Did you mean openvino?")
    assert "onnxruntime, openvino, tensorrt" in str(UnknownNameError("target", "xyz", known))
    assert UnknownNameError("target", "xyz", known).exit_code == 2


def test_an_error_without_a_fix_has_one_stop() -> None:
    assert str(EdgekdError("out of memory", fix="")) == "out of memory."
