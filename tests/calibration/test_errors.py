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


def test_a_command_to_copy_has_no_stop_behind_it() -> None:
    command = "edgekd distill --out 'runs/a b.'"
    assert str(EdgekdError("It is missing.", fix=f"Make it: {command}")) == f"It is missing. Make it: {command}"


def test_a_name_that_is_unknown_gets_its_near_matches() -> None:
    known = ["openvino", "onnxruntime", "tensorrt"]
    assert str(UnknownNameError("target", "openvnio", known)).endswith("Did you mean openvino?")
    assert "onnxruntime, openvino, tensorrt" in str(UnknownNameError("target", "xyz", known))
    assert UnknownNameError("target", "xyz", known).exit_code == 2
